#!/bin/bash
{{directives}}
# The corrected light curves.
{{setup}}
{{common}}
{{fresh}}
{{compile}}
supervise {{launch}}{{command}} correct {{input}} --output {{output}} {{options}}
finish $?
