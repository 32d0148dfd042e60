"""Workers of dask as jobs of a real Slurm: one is killed, a job is cancelled, and others come for them."""

import os
import re

import pytest
import yaml
from slow_cohort import VOLUMES, cohort, command, ended, undisturbed, wait_for_records
from slurm_cluster import missing, slurm_cluster, wait_for

pytest.importorskip("dask_jobqueue", reason="the extra [cluster] is not installed")

import psutil

pytestmark = pytest.mark.slow

DASK = {"cluster": "slurm", "minimum_jobs": 2, "maximum_jobs": 2, "interface": "lo", "host": "127.0.0.1"}
SITE = {"cpus": 1, "memory": "2000M", "time": "20:00", "dask": DASK}


@pytest.fixture(scope="module")
def slurm():
    if why := missing():
        pytest.skip(why)
    with slurm_cluster(nodes=3) as cluster:
        yield cluster


def running(slurm) -> set[str]:
    return set(slurm.ask("squeue", "-h", "-t", "running", "-o", "%A").split())


def processes_of(slurm, job: str) -> list[psutil.Process]:
    """Worker processes of a job of this Slurm, below dask's own that watch over them."""
    found = []
    for process in psutil.process_iter():
        try:
            own = process.environ()
            ours = own.get("SLURM_CONF") == slurm.environment["SLURM_CONF"]
            if ours and own.get("SLURM_JOB_ID") == job and "spawn_main" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_worker_killed_and_a_job_cancelled_leave_the_undisturbed_store(tmp_path, slurm):
    digest = undisturbed(cohort(tmp_path))
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(SITE | {"dask": DASK | {"logs": str(tmp_path)}}))
    options = ("--engine", "dask", "--site", str(tmp_path / "site.yaml"))
    process = command(tmp_path, *options, env=os.environ | slurm.environment)
    wait_for_records(tmp_path, 1, process)
    wait_for(lambda: len(running(slurm)) == 2, "two jobs")
    first, second = sorted(running(slurm))
    wait_for(lambda: bool(processes_of(slurm, first)), "a worker")
    processes_of(slurm, first)[0].kill()
    slurm.ask("scancel", second)
    wait_for(lambda: bool(running(slurm) - {first, second}) or process.poll() is not None, "another job", 60)
    code, outcome, err = ended(process)
    assert (code, outcome["embedded"], outcome["failed"]) == (0, VOLUMES, 0), err
    assert outcome["content_digest"] == digest
    assert "Traceback" not in err
    wait_for(lambda: not running(slurm), "no job that is left behind")
    assert not list((tmp_path / "run" / "extract").glob("dask-*"))  # the keys are gone


def test_what_slurm_refuses_is_said_in_its_words(tmp_path, slurm):
    cohort(tmp_path)
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(SITE | {"partition": "nowhere"}))
    options = ("--engine", "dask", "--site", str(tmp_path / "site.yaml"))
    code, _, err = ended(command(tmp_path, *options, env=os.environ | slurm.environment))
    assert code == 3
    assert re.search(r"took no job: .*[Ii]nvalid partition", err.splitlines()[-1])
