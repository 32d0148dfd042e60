"""The dask engine with processes that are killed: workers, the command with its scheduler, schedulers."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from slow_cohort import VOLUMES, cohort, command, ended, undisturbed, wait_for_records, worker_processes

pytest.importorskip("distributed", reason="the extra [cluster] is not installed")

import psutil

pytestmark = pytest.mark.slow


def test_a_worker_that_is_killed_costs_nothing_and_a_volume_that_kills_costs_itself(tmp_path):
    digest = undisturbed(cohort(tmp_path))
    cohort(tmp_path, poison=True)
    process = command(tmp_path, "--engine", "dask", "--site", str(tmp_path / "site.yaml"))
    wait_for_records(tmp_path, 2, process)
    worker_processes(process)[0].kill()
    code, outcome, err = ended(process)
    assert (code, outcome["embedded"], outcome["failed"]) == (1, VOLUMES, 1), err
    assert outcome["content_digest"] == digest
    with open(tmp_path / "run" / "failures.tsv") as stream:
        (row,) = csv.DictReader(stream, delimiter="\t")
    assert row["participant_id"] == "poison"
    assert "died" in row["reason"]
    assert "Traceback" not in err


def test_the_command_is_killed_and_goes_on_where_it_was(tmp_path):
    digest = undisturbed(cohort(tmp_path))
    site = ("--engine", "dask", "--site", str(tmp_path / "site.yaml"))
    process = command(tmp_path, *site)
    wait_for_records(tmp_path, 3, process)
    workers = worker_processes(process)
    assert len(workers) == 2
    process.kill()  # its scheduler dies with it
    process.communicate()
    assert not psutil.wait_procs(workers, timeout=20)[1]
    process = command(tmp_path, *site)
    wait_for_records(tmp_path, 6, process)
    os.killpg(process.pid, signal.SIGINT)
    code, _, err = ended(process)
    assert code == 130
    assert re.sub(r"(?m)^\d+/\d+ volumes.*\n|^slicecache: imported.*\n", "", err).count("\n") == 1
    there = len(list(tmp_path.glob("run/cache.zarr/records/*/*.json")))
    code, outcome, err = ended(command(tmp_path, *site))
    assert (code, outcome["skipped"], outcome["embedded"]) == (0, there, VOLUMES - there), err
    assert outcome["content_digest"] == digest


def test_a_scheduler_that_dies_ends_the_command_with_one_line(tmp_path):
    folder, dask = cohort(tmp_path), [sys.executable, "-m", "dask"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    file = tmp_path / "scheduler.json"
    local = ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
    scheduler = subprocess.Popen(
        [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file), *local],
        **quiet,
    )
    workers = subprocess.Popen(
        [*dask, "worker", "--scheduler-file", str(file), "--nthreads", "2", "--death-timeout", "60", *local],
        **quiet,
    )
    try:
        while not file.exists():
            assert scheduler.poll() is None
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        process = command(folder, "--engine", "dask", "--scheduler", address)
        wait_for_records(folder, 2, process)
        scheduler.kill()
        code, _, err = ended(process)
        assert code == 3
        last = err.splitlines()[-1]
        assert re.search(rf"scheduler at '{address}' went away; \d+ volumes were committed", last)
        assert "Traceback" not in err
    finally:
        for one in (scheduler, workers):
            one.kill()
            one.wait()
