#!/usr/bin/env bash

#BSUB -J slicecache
#BSUB -q gpu
#BSUB -P "lab"
#BSUB -n 8
#BSUB -R "span[hosts=1]"
#BSUB -M 51540
#BSUB -W 24:00
#BSUB -gpu "num=1"
#BSUB -m be
type module >/dev/null 2>&1 || . /etc/profile
module load cuda/12.4 || exit 3
export HF_HUB_OFFLINE=1
export HF_HOME='/data/weights here'
ulimit -n 4096
export DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE=False
/opt/env/bin/python -m distributed.cli.dask_worker tls://10.0.0.1:1234 --name worker --nthreads 8 --memory-limit 48.00GiB --nanny --death-timeout 60 --lifetime 73440s --lifetime-stagger 4320s --no-dashboard --interface ib0
