#!/bin/bash
{{directives}}
# The corrected light curves.
{{common}}
{{setup}}
{{fresh}}
{{compile}}
supervise {{launch}}{{command}} correct {{input}} --output {{output}} {{options}}
finish $?
