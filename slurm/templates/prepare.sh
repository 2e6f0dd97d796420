#!/bin/bash
{{directives}}
# The image cube of one CCD a task.
{{common}}
{{setup}}
ccds=({{ccds}})
read -r sector camera ccd <<< "${ccds[$task]}"
{{fresh}}
{{compile}}
supervise {{launch}}{{command}} prepare {{input}} \
    --sector "$sector" --camera "$camera" --ccd "$ccd" {{options}}
finish $?
