#!/bin/sh
# What both recipes do in a fresh Debian: Python, slicecache with the versions of constraints.txt, the entry point.
#
# usage: install.sh SOURCE   with TORCH in the environment, e.g. torch==2.13.0; the rest is pip's own
# (PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS, ...).
set -eu
source=$1
home=/opt/slicecache
if ! python3 -m venv --help >/dev/null 2>&1 || ! python3 -c 'import ensurepip' 2>/dev/null; then
  apt-get update
  apt-get install -y --no-install-recommends ca-certificates python3 python3-venv
  rm -rf /var/lib/apt/lists/*
fi
python3 -m venv "$home"
PIP_CONSTRAINT="$source/constraints.txt" "$home/bin/python" -m pip --disable-pip-version-check install \
  --no-cache-dir "$TORCH" "$source[extract,aggregate,report,remote,cluster]"
install -m 644 "$source/containers/run.py" "$home/run.py"
"$home/bin/slicecache" --version
