#!/usr/bin/env bash
# Light curves of a simulated CCD, from full frame images to files: what an operator types for a sector.
set -euo pipefail
folder=${1:?usage: demo.sh FOLDER}
ranks=${RANKS:-3}

step() {
    printf '\n\033[1m$ %s\033[0m\n' "$*"
    "$@"
}

rm -rf -- "$folder"
step tasoc-mpi compile --only simulate,prepare,aperture
step tasoc-mpi simulate "$folder" --sector 1 --camera 1 --ccd 1 --frames 600 --rows 256 --columns 256 --tpfs 5 --seed 1
step tasoc-mpi prepare "$folder"
step tasoc-mpi todo "$folder"
step mpiexec -n "$ranks" tasoc-mpi run "$folder"
step tasoc-mpi summary "$folder" --pictures
