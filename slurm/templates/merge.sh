#!/bin/bash
{{directives}}
# Brings the results of all shards back into the work list; those of finished ones then go.
{{setup}}
{{common}}
supervise {{command}} merge {{input}} --remove {{options}}
finish $?
