# The cube is copied to the disk of each node, and removed at the end, whatever the end is.
source={{scratch}}/tasoc-mpi-$SLURM_JOB_ID
each_node=(srun --mpi=none --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1)
cleanup() {
    "${each_node[@]}" rm -rf -- "$source"
}
trap 'rm -rf -- "$source"' EXIT
supervise "${each_node[@]}" {{command}} stage {{input}} "$source" \
    --sector "$sector" --camera "$camera" --ccd "$ccd" || finish $?
