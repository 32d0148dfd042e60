#!/bin/bash
# Written by `slicecache extract --engine slurm`: a share of the volumes per task; one of them again: sbatch --array=3 FILE
# Settings: no site file; a line there (`memory: 32G`) replaces an estimate.
#SBATCH --job-name=slicecache
# tasks: estimated, because
#SBATCH --array=0-7
# cpus: estimated, because
#SBATCH --cpus-per-task=6
# memory: estimated, because
#SBATCH --mem=24G
# time: estimated, because
#SBATCH --time=0:45:00
# gpu: by default
#SBATCH --gres=gpu:1
#SBATCH --requeue
# the trap below
#SBATCH --signal=B:USR1@120
# a task that runs again goes on in its log
#SBATCH --open-mode=append
#SBATCH --output="/cohorts/a b/run 100%%/slurm/logs/%A_%a.txt"

cd -- '/home/some one' || exit 3
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
export HF_HUB_OFFLINE=1
again() {
    if [ -n "$!" ]; then kill -TERM "$!"; wait "$!"; fi
    if [ "${SLURM_RESTART_COUNT:-0}" -ge 10 ]; then
        echo "slicecache: started again 10 times, and out of time once more: not queued again; give it more time, or more tasks (time:, tasks: in the site file)" >&2
        exit 1
    fi
    echo "slicecache: the time limit is near; queued again, to go on from what is committed" >&2
    scontrol requeue "$SLURM_JOB_ID" || exit 1
    exit 0
}
trap again USR1
/opt/python -m slicecache extract '/cohorts/a b/pipeline.yaml' --set extract.batch_size=32 --shard auto/8 &
wait "$!"
