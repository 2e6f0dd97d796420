#!/bin/bash
{{directives}}
# A summary of the light curves, with pictures, and the page about the run.
{{common}}
{{setup}}
supervise {{command}} summary {{input}} --output {{output}} --pictures {{options}}
summed=$?
# The page needs the extra `report`: where it is not installed, the log says so and the summary counts.
supervise {{command}} report {{input}} --output {{output}} {{options}} || echo "no report page, see above" >&2
finish $summed
