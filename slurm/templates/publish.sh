#!/bin/bash
{{directives}}
# Brings the work list up to date with the results of all tasks.
{{common}}
{{setup}}
supervise {{command}} publish {{input}} --output {{output}} {{options}}
finish $?
