task="${SLURM_ARRAY_TASK_ID:-}"
job="${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${task:+_$task}"
restarts="${SLURM_RESTART_COUNT:-0}"
where="${SLURM_JOB_NODELIST:-?}"
requeue() { scontrol requeue "$job"; }

