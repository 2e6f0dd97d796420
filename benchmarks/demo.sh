#!/usr/bin/env bash
# Light curves of a simulated CCD, from full frame images to files: what an operator types for a sector.
set -euo pipefail
folder=${1:?usage: demo.sh FOLDER}
ranks=${RANKS:-3}

bold='' plain=''
if [[ -t 1 && -z ${NO_COLOR:-} ]]; then bold=$'\033[1m' plain=$'\033[0m'; fi

step() {
    printf '\n%s$ %s%s\n' "$bold" "$*" "$plain"
    "$@"
}

rm -rf -- "$folder"
step tasoc-mpi compile --only simulate,prepare,aperture
step tasoc-mpi simulate "$folder" --sector 1 --camera 1 --ccd 1 --frames 600 --rows 256 --columns 256 --tpfs 5 --seed 1
step tasoc-mpi prepare "$folder"
step tasoc-mpi todo "$folder"
step mpiexec -n "$ranks" tasoc-mpi run "$folder"
step tasoc-mpi summary "$folder" --pictures
