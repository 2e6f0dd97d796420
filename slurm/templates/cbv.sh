#!/bin/bash
{{directives}}
# The vectors of the systematics of every area.
{{setup}}
{{common}}
{{fresh}}
{{compile}}
supervise {{launch}}{{command}} cbv {{input}} --output {{output}} {{options}}
finish $?
