"""The scripts, against files that were read by a person and run by a Slurm, and run by bash itself."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from cache_schema.cluster.site import FoundSite, Site
from cache_schema.common.errors import ConfigError
from extract.cluster.estimate import Estimate
from extract.cluster.script import Task, array_script, finish_script, spans

GOLDEN = Path(__file__).parent / "golden"
NEEDS = Estimate(8, 6, "24G", "0:45:00", dict.fromkeys(("tasks", "cpus", "memory", "time"), "because"))
TASK = Task(
    arguments=(
        "extract",
        "/cohorts/a b/pipeline.yaml",
        "--set",
        "extract.batch_size=32",
        "--shard",
        "auto/8",
    ),
    command=("/opt/python", "-m", "slicecache"),
    environment={"HF_HUB_OFFLINE": "1"},
    folder=Path("/home/some one"),
    log=Path("/cohorts/a b/run 100%/slurm/logs/%A_%a.txt"),
    binds=(Path("/cohorts/a b"), Path("/cohorts/a b/run"), Path("/data")),
)
FULL = Site(
    partition="gpu",
    account="brain",
    qos="long",
    gpu="--gres=gpu:a100:1",
    directives=("--constraint=nvme",),
    memory="32G",
    throttle=4,
    modules=("cuda/12.4", "apptainer"),
    setup=("ulimit -n 4096",),
    environment={"HF_HOME": "/weights/it's"},
    container=Path("slicecache.sif"),
    stage="$TMPDIR",
    finish_partition="cpu",
    finish_time="3:00:00",
)


def golden(name: str, text: str) -> None:
    """Compare; to take what is written now, set SLICECACHE_GOLDEN=write and read the difference."""
    if os.environ.get("SLICECACHE_GOLDEN") == "write":
        (GOLDEN / name).write_text(text)
    assert text == (GOLDEN / name).read_text()


@pytest.mark.parametrize(
    ("name", "found"),
    [("plain", FoundSite(Site(), None)), ("full", FoundSite(FULL, Path("/etc/slicecache/site.yaml")))],
)
def test_scripts_are_those_that_were_read(name, found):
    golden(f"{name}_extract.sh", array_script(found, NEEDS, "0-7", TASK))
    finish = replace(TASK, arguments=("cache", "finish", "/cohorts/a b/cache.zarr"))
    finish = replace(finish, log=TASK.log.with_name("finish_%j.txt"))
    golden(f"{name}_finish.sh", finish_script(found, [finish], "4G", "1:00:00"))


ODD = "a b'c\"d$HOME;e#f&g%h*"


def run_script(text: str, tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", text],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=tmp_path,
        env=os.environ | variables,
    )


def recorded(tmp_path: Path) -> Task:
    """A task whose command writes down its arguments and some of its environment."""
    folder = tmp_path / ODD
    folder.mkdir()
    stub = folder / "slicecache"
    stub.write_text(
        '#!/bin/bash\nprintf "%s\\n" "$PWD" "$NAMED" "$SLICECACHE_STAGE" "$OMP_NUM_THREADS" "$@"\n'
    )
    stub.chmod(0o755)
    return Task(("extract", f"{ODD}.yaml", "--set", "a=[1, 2]"), (str(stub),), {}, folder, folder / "x.txt")


def test_bash_gives_every_word_back_as_it_was(tmp_path):
    task = recorded(tmp_path)
    site = Site(environment={"NAMED": ODD}, stage="$SCRATCH")
    scratch = tmp_path / "scratch disk"
    scratch.mkdir()
    script = array_script(FoundSite(site, Path("/x")), NEEDS, "0", task)
    done = run_script(script, tmp_path, SCRATCH=str(scratch), SLURM_CPUS_PER_TASK="3")
    folder, named, stage, threads, *words = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder, named, threads) == (str(task.folder), ODD, "3")
    assert words == list(task.arguments)
    assert Path(stage).parent == scratch
    assert list(scratch.iterdir()) == [], "the task's own folder on the node goes with it"


@pytest.mark.parametrize("code", [0, 1, 3])
def test_a_task_ends_as_its_command_did(tmp_path, code):
    task = replace(recorded(tmp_path), command=("bash", "-c", f"exit {code}"))
    assert run_script(array_script(FoundSite(Site(), None), NEEDS, "0", task), tmp_path).returncode == code
    finish = finish_script(FoundSite(Site(), None), [task], "4G", "1:00:00")
    assert run_script(finish, tmp_path).returncode == code


@pytest.mark.parametrize(("codes", "code"), [((0, 0), 0), ((3, 0), 3), ((0, 1), 1)])
def test_every_store_is_finished_whatever_becomes_of_the_others(tmp_path, codes, code):
    task = replace(recorded(tmp_path), command=("bash", "-c"))
    tasks = [replace(task, arguments=(f"echo {place}; exit {each}",)) for place, each in enumerate(codes)]
    done = run_script(finish_script(FoundSite(Site(), None), tasks, "4G", "1:00:00"), tmp_path)
    assert (done.stdout.split(), done.returncode) == (["0", "1"], code)


@pytest.mark.parametrize(("restarts", "code", "requeued"), [("0", 0, True), ("9", 0, True), ("10", 1, False)])
def test_near_its_limit_a_task_stops_and_queues_itself_so_many_times(tmp_path, restarts, code, requeued):
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "scontrol").write_text('#!/bin/bash\necho "$@" >"$0.said"\n')
    (programs / "scontrol").chmod(0o755)
    working = 'sleep 9 & trap "touch stopped; kill $!; exit 9" TERM; kill -USR1 $PPID; wait'
    task = replace(recorded(tmp_path), command=("bash", "-c", working))
    path = f"{programs}:{os.environ['PATH']}"
    script = array_script(FoundSite(Site(), None), NEEDS, "0", task)
    done = run_script(script, tmp_path, PATH=path, SLURM_RESTART_COUNT=restarts, SLURM_JOB_ID="77")
    assert done.returncode == code
    assert (task.folder / "stopped").exists()
    said = programs / "scontrol.said"
    assert (said.read_text() if said.exists() else "") == ("requeue 77\n" if requeued else "")
    assert ("queued again, to go on" in done.stderr) == requeued
    assert ("started again 10 times" in done.stderr) != requeued


def test_a_missing_module_ends_the_task_before_the_work(tmp_path):
    done = run_script(
        array_script(FoundSite(Site(modules=("no such thing",)), Path("/x")), NEEDS, "0", recorded(tmp_path)),
        tmp_path,
    )
    assert (done.returncode, done.stdout) == (3, "")


def test_bash_reads_every_script():
    for script in GOLDEN.glob("*.sh"):
        assert subprocess.run(["bash", "-n", script], capture_output=True, text=True).stderr == ""


def test_a_folder_that_slurm_cannot_log_to_is_refused():
    with pytest.raises(ConfigError, match=r"run\.folder"):
        array_script(FoundSite(Site(), None), NEEDS, "0", replace(TASK, log=Path("/a\\b/x.txt")))


def test_indices_as_slurm_reads_them():
    assert spans([7, 0, 1, 2, 3]) == "0-3,7"
    assert spans([5]) == "5"
