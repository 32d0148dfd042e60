#!/bin/bash
# Written by `slicecache extract --engine slurm`: checks that all is there, verifies, seals and packs; again: sbatch FILE
# Settings: site file '/etc/slicecache/site.yaml'; a line there (`memory: 32G`) replaces an estimate.
#SBATCH --job-name=slicecache-finish
# finish_partition: site file
#SBATCH --partition=cpu
# account: site file
#SBATCH --account=brain
# qos: site file
#SBATCH --qos=long
#SBATCH --cpus-per-task=2
# finish_memory: estimated
#SBATCH --mem=4G
# finish_time: site file
#SBATCH --time=3:00:00
#SBATCH --output="/cohorts/a b/run 100%%/slurm/logs/finish_%j.txt"

cd -- '/home/some one' || exit 3
type module >/dev/null 2>&1 || . /etc/profile
module load cuda/12.4 || exit 3
module load apptainer || exit 3
export OMP_NUM_THREADS="2"
export HF_HUB_OFFLINE=1
export HF_HOME='/weights/it'"'"'s'
ulimit -n 4096
apptainer exec --bind '/cohorts/a b' --bind /data /etc/slicecache/slicecache.sif slicecache cache finish '/cohorts/a b/cache.zarr'
