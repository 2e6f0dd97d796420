#!/bin/bash
{{directives}}
# The work list, if there is none yet.
{{common}}
{{setup}}
if [ ! -e {{input}}/todo.sqlite ]; then
    supervise {{command}} todo {{input}} {{options}} || finish $?
fi
finish 0
