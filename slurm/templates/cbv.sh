#!/bin/bash
{{directives}}
# The vectors of the systematics of every area.
{{common}}
{{setup}}
{{fresh}}
{{compile}}
supervise {{launch}}{{command}} cbv {{input}} --output {{output}} {{options}}
finish $?
