"""Workers of dask as jobs: what a site file says, in the scripts of five batch systems, one of them tried."""

import json
import os
import re
from pathlib import Path

import pytest
import yaml

pytest.importorskip("dask_jobqueue", reason="the extra [cluster] is not installed")

from cache_schema.cluster.host import HANDED_ON, gib_of, seconds_of, worker_host
from cache_schema.cluster.jobs import cluster_class, job_options, lifetime
from cache_schema.cluster.kubernetes import pod_description
from cache_schema.cluster.site import find_site
from cache_schema.common.errors import ConfigError

GOLDEN = Path(__file__).parent / "golden"
SITE = {
    "partition": "gpu",
    "account": "lab",
    "qos": "night",
    "cpus": 8,
    "memory": "48G",
    "time": "1-00:00:00",
    "modules": ["cuda/12.4"],
    "environment": {"HF_HOME": "/data/weights here"},
    "setup": ["ulimit -n 4096"],
}


def golden(name: str, text: str) -> None:
    """Compare; to take what is written now, set SLICECACHE_GOLDEN=write and read the difference."""
    if os.environ.get("SLICECACHE_GOLDEN") == "write":
        (GOLDEN / name).write_text(text)
    assert text == (GOLDEN / name).read_text()


def found(folder: Path, dask: dict, **site):
    (folder / "site.yaml").write_text(yaml.safe_dump(SITE | {"dask": dask} | site))
    return find_site(folder / "site.yaml")


def job_script(there, cpu_only=False):
    settings = there.site.dask
    options = job_options(settings, worker_host(there, cpu_only))
    kept = set(options) - {"scheduler_options", "silence_logs"}
    job = cluster_class(settings).job_cls(
        "tls://10.0.0.1:1234", name="worker", **{k: options[k] for k in kept}
    )
    return job.job_script()


@pytest.mark.parametrize("cluster", ["slurm", "pbs", "sge", "lsf"])
def test_job_scripts_are_those_that_were_read(tmp_path, cluster, monkeypatch):
    for name in HANDED_ON:
        monkeypatch.delenv(name, raising=False)
    dask = {
        "cluster": cluster,
        "interface": "ib0",
        "python": ["/opt/env/bin/python"],
        "directives": ["-m be"],
    }
    there = found(tmp_path, dask, **({"directives": ["--exclusive"]} if cluster == "slurm" else {}))
    golden(f"dask_{cluster}.sh", job_script(there))


def test_pods_are_those_that_were_read(tmp_path):
    pytest.importorskip("dask_kubernetes", reason="dask-kubernetes is not installed")
    dask = {"cluster": "kubernetes", "image": "lab/slicecache:1", "claims": {"data": "/data"}}
    there = found(tmp_path, dask)
    described = pod_description(there.site.dask, worker_host(there, cpu_only=False))
    golden("dask_kubernetes.json", json.dumps(described, indent=1) + "\n")


def test_a_gpu_for_each_worker_of_a_job_and_none_without(tmp_path):
    there = found(tmp_path, {"cluster": "slurm", "gpus": 2}, gpu="--gres=gpu:2")
    assert "--gres=gpu:2" in (script := job_script(there))
    assert "--nworkers 2" in script
    assert "--nthreads 4" in script
    plain = job_script(there, cpu_only=True)
    assert "gpu:" not in plain
    assert "--nworkers 2" in plain  # a worker for every four cores


def test_a_container_runs_the_workers_python(tmp_path):
    there = found(tmp_path, {"cluster": "slurm"}, container="image.sif")
    assert f"apptainer exec --nv {tmp_path}/image.sif python -m distributed" in job_script(there)


def test_nodes_that_call_slicecache_by_another_name_need_to_be_told_python(tmp_path):
    there = found(tmp_path, {"cluster": "slurm"}, command=["pixi", "run", "slicecache"])
    with pytest.raises(ConfigError, match=r"dask: \{python"):
        worker_host(there, cpu_only=False)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("90", 5400), ("90:30", 5430), ("1:30:00", 5400), ("1-12", 129600), ("1-12:30", 131400), ("0-0:0:9", 9)],
)
def test_limits_are_read_as_slurm_writes_them(said, seconds):
    assert seconds_of(said) == seconds


@pytest.mark.parametrize(("said", "gib"), [("32G", 32), ("32000M", 32), ("512", 1), ("1T", 1024)])
def test_memory_is_read_as_slurm_writes_it(said, gib):
    assert gib_of(said) == gib


@pytest.mark.parametrize("walltime", [600, 3600, 86400])
def test_workers_end_before_their_job(walltime):
    _, first, _, spread = lifetime(walltime)
    latest = sum(int(re.sub("s$", "", part)) for part in (first, spread))
    assert latest <= 0.91 * walltime


def test_more_jobs_at_least_than_at_most_is_a_mistake(tmp_path):
    with pytest.raises(ConfigError, match=r"minimum_jobs \(5\) is above maximum_jobs \(4\)"):
        found(tmp_path, {"cluster": "slurm", "minimum_jobs": 5})
