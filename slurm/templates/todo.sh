#!/bin/bash
{{directives}}
# The work list, if there is none yet, and a shard of it for each CCD.
{{setup}}
{{common}}
if [ ! -e {{input}}/todo.sqlite ]; then
    supervise {{command}} todo {{input}} {{options}} || finish $?
fi
supervise {{command}} split {{input}}
finish $?
