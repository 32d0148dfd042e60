#!/usr/bin/env bash

#SBATCH -J slicecache
#SBATCH -p gpu
#SBATCH -A lab
#SBATCH -n 1
#SBATCH --cpus-per-task=8
#SBATCH --mem=48G
#SBATCH -t 24:00:00
#SBATCH --gres=gpu:1
#SBATCH --qos=night
#SBATCH --exclusive
#SBATCH -m be
type module >/dev/null 2>&1 || . /etc/profile
module load cuda/12.4 || exit 3
export HF_HUB_OFFLINE=1
export HF_HOME='/data/weights here'
ulimit -n 4096
export DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE=False
/opt/env/bin/python -m distributed.cli.dask_worker tls://10.0.0.1:1234 --name worker --nthreads 8 --memory-limit 48.00GiB --nanny --death-timeout 60 --lifetime 73440s --lifetime-stagger 4320s --no-dashboard --interface ib0
