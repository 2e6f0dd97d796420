#!/bin/bash
{{directives}}
# The light curves of one CCD a task, each with a rank 0 and a shard of the work list of its own.
{{setup}}
{{common}}
ccds=({{ccds}})
read -r sector camera ccd <<< "${ccds[$SLURM_ARRAY_TASK_ID]}"
todo={{input}}/$(printf 'todo_sector%03d_camera%d_ccd%d.sqlite' "$sector" "$camera" "$ccd")
if [ ! -e "$todo" ]; then
    echo "no stars on sector $sector camera $camera CCD $ccd: nothing to do"
    exit 0
fi
{{fresh}}
supervise {{launch}}{{command}} run {{input}} --todo "$todo" --output {{output}} --version {{version}} \
    {{cube}} {{options}}
finish $?
