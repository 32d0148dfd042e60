"""A real Slurm, disturbed: a task cancelled, one out of time, a node lost; the store as if undisturbed."""

import json
import os
import re
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml
from made_up_inputs import write_inputs
from slurm_cluster import SlurmCluster, missing, slurm_cluster, wait_for

from cache_schema.common.pipeline_file import load_pipeline
from cache_schema.status.look import Observer
from cache_schema.store.reader import open_store
from extract.cli import read_extract_section
from extract.extraction import run_extraction
from extract.simulate.tree import simulate_tree
from slicecache import cli, guarded

ROOT = Path(__file__).parents[2]
VOLUMES, TASKS = 40, 8
LIMITED, CANCELLED, LOST = 0, 1, 2
"""Tasks that are disturbed; they begin first, one on each node."""
SLOW = {LIMITED: (3, 60.0), CANCELLED: (0, 40.0), LOST: (3, 40.0)}
"""After so many volumes so many seconds before each, the first time that the task runs. On the lost node that
is longer than Slurm waits for it: its task must not be done before Slurm gives it to another."""

WRAPPER = '''
"""slicecache as it is, but slow where the test says so, and every record that is written is noted."""
import os, pathlib, sys, time

import extract.engines.decode as decode
from cache_schema.files.objects import LocalObjects

folder = pathlib.Path(__file__).parent
with open(folder / "processes.txt", "a") as log:
    log.write(f"{os.getpid()}\\n")
slow = folder / ("slow." + os.environ.get("SLURM_ARRAY_TASK_ID", "finish"))
attempt, put = decode.attempt, LocalObjects.put
quick, seconds = map(float, slow.read_text().split()) if slow.exists() else (0, 0)
seconds *= os.environ.get("SLURM_RESTART_COUNT", "0") == "0"
seen = []

def slowly(candidate, preprocessing):
    seen.append(candidate)
    time.sleep(seconds * (len(seen) > quick))
    return attempt(candidate, preprocessing)

def noted(self, name, *more, **others):
    put(self, name, *more, **others)
    if name.startswith("records/"):
        line = " ".join([name, os.environ["SLURM_ARRAY_TASK_ID"], os.environ.get("SLURM_RESTART_COUNT", "0")])
        with open(folder / "commits.txt", "a") as log:
            log.write(line + "\\n")

decode.attempt, LocalObjects.put = slowly, noted
import slicecache
slicecache.main()
'''


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch):
    if why := missing():
        pytest.skip(why)
    with slurm_cluster(3) as cluster:
        for name, value in cluster.environment.items():
            monkeypatch.setenv(name, value)
        yield cluster


class Run:
    """A cohort, a pipeline and a site in a folder whose name needs quoting everywhere."""

    def __init__(self, folder: Path, cohort: Path, **site: object) -> None:
        self.folder = folder
        folder.mkdir()
        section = {
            "input": {"bids": str(cohort), "suffix": "T1w"},
            "canvas": 56,
            "backbone": {"kind": "untrained", "size": "tiny"},
            "dtype": "float32",
            "workers": 0,
        }
        data = {"run": {"folder": "run"}, "cache": {"store": "run/cache.zarr"}, "extract": section}
        (folder / "pipeline.yaml").write_text(yaml.safe_dump(data))
        (folder / "wrapper.py").write_text(WRAPPER)
        self.site = {
            "command": [sys.executable, str(folder / "wrapper.py")],
            "environment": {"PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "passive"},
            "tasks": TASKS,
            "cpus": 1,
            "memory": "2G",
            **site,
        }
        (folder / "site.yaml").write_text(yaml.safe_dump(self.site))

    @property
    def store(self) -> str:
        return str(self.folder / "run" / "cache.zarr")

    def submit(self, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, object]:
        """Type the command, and read what it says."""
        words = ["extract", str(self.folder / "pipeline.yaml"), "--engine", "slurm"]
        code = guarded(cli.main, [*words, "--site", str(self.folder / "site.yaml"), "--json", *more])
        said = capsys.readouterr()
        assert code == 0, said.err
        return json.loads(said.out)

    def commits(self, task: int | None = None, restarts: int | None = None) -> list[str]:
        """Names of the records that were written so far, by whom."""
        path = self.folder / "commits.txt"
        lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [
            name for name, by, again in lines if task in (None, int(by)) and restarts in (None, int(again))
        ]

    def end(self) -> None:
        """End what still runs, as on the node that was lost."""
        path = self.folder / "processes.txt"
        for number in path.read_text().split() if path.exists() else []:
            command = Path("/proc", number, "cmdline")
            if command.exists() and str(self.folder / "wrapper.py").encode() in command.read_bytes():
                os.kill(int(number), signal.SIGKILL)

    def log(self, job: object) -> str:
        return (self.folder / "run" / "slurm" / "logs" / f"{job}.txt").read_text()


def ended(slurm: SlurmCluster) -> bool:
    return not slurm.ask("squeue", "-h")


def state(slurm: SlurmCluster, job: str) -> str:
    return slurm.ask("squeue", "-h", "-r", "-t", "all", "-j", job, "-o", "%T")


def restarts(slurm: SlurmCluster, job: str) -> int:
    """How often a task was started again; a busy machine may meet a limit of one minute twice."""
    return int(re.search(r"Restarts=(\d+)", slurm.ask("scontrol", "show", "job", job))[1])


@pytest.mark.slow
def test_a_disturbed_array_gives_the_store_of_an_undisturbed_one(
    slurm, tmp_path, capsys, monkeypatch, request
):
    simulate_tree(tmp_path / "cohort", 34, "none", 0, coarseness=4.0, workers=2)
    alone = Run(tmp_path / "alone", tmp_path / "cohort")
    pipeline = load_pipeline(alone.folder / "pipeline.yaml")
    expected = run_extraction(pipeline, read_extract_section(pipeline), progress=False)
    assert expected.embedded >= VOLUMES
    # Limits are whole minutes, and Slurm warns up to half a minute earlier than it is told.
    odd, disk = tmp_path / "a b;\"c\" $HOME 'd' 100%", tmp_path / "disk"
    disk.mkdir()
    run = Run(odd, tmp_path / "cohort", time="00:01:00", warn_seconds=10, stage=str(disk))
    request.addfinalizer(run.end)
    monkeypatch.chdir(run.folder)
    for task, (quick, seconds) in SLOW.items():
        (run.folder / f"slow.{task}").write_text(f"{quick} {seconds}")

    first = run.submit(capsys)
    array = first["array_job"]
    assert first["shares"] == list(range(TASKS))
    wait_for(lambda: bool(run.commits(LOST)), "the task on the node that will be lost commits something")
    assert state(slurm, f"{array}_{CANCELLED}") == "RUNNING"
    slurm.kill(slurm.ask("squeue", "-h", "-j", f"{array}_{LOST}", "-o", "%N"))
    slurm.ask("scancel", f"{array}_{CANCELLED}")
    (run.folder / f"slow.{CANCELLED}").unlink()
    wait_for(lambda: state(slurm, f"{array}_{CANCELLED}") == "CANCELLED", "cancelled")

    second = run.submit(capsys)  # the one line again
    assert second["shares"] == [CANCELLED]
    deadline, observer = time.monotonic() + 120, Observer(run.store)
    while not ended(slurm):
        assert time.monotonic() < deadline, slurm.ask("squeue", "-r")
        before = len(run.commits())
        counts = observer.look().counts
        assert counts.planned == expected.embedded
        assert before <= counts.committed, "what was committed is counted"
        wait_for(lambda: counts.committed <= len(run.commits()), "what is counted was committed", 5)  # noqa: B023
        time.sleep(1)

    reader = open_store(run.store)
    assert reader.content_digest() == expected.content_digest
    counted = Counter(run.commits())
    assert (set(counted.values()), len(counted)) == ({1}, expected.embedded), "each volume committed once"
    assert "queued again, to go on" in run.log(f"{array}_{LIMITED}")
    assert run.commits(LIMITED, restarts=0)
    assert run.commits(LIMITED, restarts=1)
    assert run.commits(LOST, restarts=0)
    assert restarts(slurm, f"{array}_{LIMITED}") >= 1
    assert restarts(slurm, f"{array}_{LOST}") >= 1
    assert reader.sealed
    assert f"{expected.embedded} of {expected.embedded} volumes, packed" in run.log(
        f"finish_{second['finish_job']}"
    )
    assert len(list(disk.iterdir())) <= 1, "what the nodes had copied is gone, but on the one that was lost"
    assert run.submit(capsys)["shares"] == []


@pytest.mark.slow
def test_several_stores_are_made_by_one_array_and_each_is_sealed(slurm, tmp_path, capsys, monkeypatch):
    file = write_inputs(tmp_path)
    stores = {"main": {}, "other": {"slices": {"kind": "all"}}}
    data = yaml.safe_load(file.read_text())
    data["extract"]["stores"] = stores
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    pipeline = load_pipeline(file, ["run.folder=local", "cache.store=local/cache.zarr"])
    expected = run_extraction(pipeline, read_extract_section(pipeline), progress=False)
    site = {
        "command": [sys.executable, "-m", "slicecache"],
        "environment": {"PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "passive"},
        "tasks": 2,
        "cpus": 1,
        "memory": "2G",
    }
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(site))
    monkeypatch.chdir(tmp_path)
    words = ["extract", str(file), "--engine", "slurm", "--site", "site.yaml", "--json"]
    assert guarded(cli.main, words) == 0
    jobs = json.loads(capsys.readouterr().out)
    assert (jobs["shares"], list(jobs["stores"])) == ([0, 1], list(stores))
    wait_for(lambda: ended(slurm), "array and last task end", 180)
    log = (tmp_path / f"run/slurm/logs/finish_{jobs['finish_job']}.txt").read_text()
    for each, location in zip(expected.every, jobs["stores"].values(), strict=True):
        assert f"{location}: 5 of 5 volumes, packed" in log
        assert open_store(location).content_digest() == each.content_digest


@pytest.mark.slow
def test_what_slurm_refuses_is_a_mistake_and_no_slurm_is_the_machines(slurm, tmp_path, capsys, monkeypatch):
    write_inputs(tmp_path)
    monkeypatch.chdir(tmp_path)
    words = ["extract", "pipeline.yaml", "--engine", "slurm", "--site", "site.yaml"]
    for key, value, said in (
        ("partition", "nix", "invalid partition specified: nix"),
        ("gpu", "--gres=gpu:7", "Requested node configuration is not available"),
        ("memory", "10T", "Memory specification can not be satisfied"),
    ):
        (tmp_path / "site.yaml").write_text(yaml.safe_dump({"memory": "2G", "cpus": 1, key: value}))
        assert guarded(cli.main, words) == 2
        err = capsys.readouterr().err
        assert said in err
        assert err.count("\n") == 1
    (tmp_path / "site.yaml").write_text("{memory: 2G, cpus: 1}")
    slurm.kill("slurmctld")
    assert guarded(cli.main, words) == 3
    assert "Slurm does not answer `sbatch`: Batch job submission failed: Unable to contact" in (
        capsys.readouterr().err
    )
