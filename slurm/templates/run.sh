#!/bin/bash
{{directives}}
# The light curves of one CCD a task, each with a rank 0 of its own.
{{common}}
{{setup}}
ccds=({{ccds}})
read -r sector camera ccd <<< "${ccds[$task]}"
{{fresh}}
{{compile}}
supervise {{launch}}{{command}} run {{input}} --sector "$sector" --camera "$camera" --ccd "$ccd" \
    --output {{output}} --version {{version}} {{cube}} {{options}}
finish $?
