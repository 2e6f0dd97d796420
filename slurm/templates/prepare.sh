#!/bin/bash
{{directives}}
# The image cube of one CCD a task.
{{setup}}
{{common}}
ccds=({{ccds}})
read -r sector camera ccd <<< "${ccds[$task]}"
{{fresh}}
{{compile}}
supervise {{launch}}{{command}} prepare {{input}} \
    --sector "$sector" --camera "$camera" --ccd "$ccd" {{options}}
finish $?
