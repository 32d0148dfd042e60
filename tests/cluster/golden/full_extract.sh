#!/bin/bash
# Written by `slicecache extract --engine slurm`: a share of the volumes per task; one of them again: sbatch --array=3 FILE
# Settings: site file '/etc/slicecache/site.yaml'; a line there (`memory: 32G`) replaces an estimate.
#SBATCH --job-name=slicecache
# tasks: estimated, because
#SBATCH --array=0-7%4
# partition: site file
#SBATCH --partition=gpu
# account: site file
#SBATCH --account=brain
# qos: site file
#SBATCH --qos=long
# cpus: estimated, because
#SBATCH --cpus-per-task=6
# memory: site file; 24G by estimate, because
#SBATCH --mem=32G
# time: estimated, because
#SBATCH --time=0:45:00
# gpu: site file
#SBATCH --gres=gpu:a100:1
# directives: site file
#SBATCH --constraint=nvme
#SBATCH --requeue
# the trap below
#SBATCH --signal=B:USR1@120
# a task that runs again goes on in its log
#SBATCH --open-mode=append
#SBATCH --output="/cohorts/a b/run 100%%/slurm/logs/%A_%a.txt"

cd -- '/home/some one' || exit 3
type module >/dev/null 2>&1 || . /etc/profile
module load cuda/12.4 || exit 3
module load apptainer || exit 3
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
export HF_HUB_OFFLINE=1
export HF_HOME='/weights/it'"'"'s'
ulimit -n 4096
stage=$(mktemp -d -- "$TMPDIR/slicecache-XXXXXX") || exit 3
trap 'rm -rf -- "$stage"' EXIT
export SLICECACHE_STAGE="$stage"
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
apptainer exec --nv --bind '/cohorts/a b' --bind /data --bind "$stage" /etc/slicecache/slicecache.sif slicecache extract '/cohorts/a b/pipeline.yaml' --set extract.batch_size=32 --shard auto/8 &
wait "$!"
