# An MPI may name its shared memory by the numbers of job and step. Both are the same when a task is requeued, and what
# a killed attempt left on the node then breaks the next one: so each attempt takes another step number.
for ((restart = 0; restart < restarts; restart++)); do
    srun --mpi=none --nodes=1 --ntasks=1 true
done
