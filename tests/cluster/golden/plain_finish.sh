#!/bin/bash
# Written by `slicecache extract --engine slurm`: checks that all is there, verifies, seals and packs; again: sbatch FILE
# Settings: no site file; a line there (`memory: 32G`) replaces an estimate.
#SBATCH --job-name=slicecache-finish
#SBATCH --cpus-per-task=2
# finish_memory: estimated
#SBATCH --mem=4G
# finish_time: estimated
#SBATCH --time=1:00:00
#SBATCH --output="/cohorts/a b/run 100%%/slurm/logs/finish_%j.txt"

cd -- '/home/some one' || exit 3
export OMP_NUM_THREADS="2"
export HF_HUB_OFFLINE=1
/opt/python -m slicecache cache finish '/cohorts/a b/cache.zarr'
