#!/bin/bash
{{directives}}
# A summary of the light curves, with pictures.
{{setup}}
{{common}}
supervise {{command}} summary {{input}} --output {{output}} --pictures {{options}}
finish $?
