"""An extraction that is watched from outside, killed, and watched again: every look is true."""

import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

from cache_schema.common.errors import StoreError
from cache_schema.status.crew import crew_of
from cache_schema.status.look import Observer, Status
from cache_schema.store.reader import open_store
from cache_schema.workers.heard import heard

ROOT = Path(__file__).parents[2]
VOLUMES = 32
COMMAND = [sys.executable, str(ROOT / "slicecache.py")]


@pytest.fixture
def cohort(tmp_path) -> Path:
    """Many small volumes, of which one is empty and one constant, and a pipeline file beside them."""
    rng = np.random.default_rng(0)
    for index in range(VOLUMES):
        folder = tmp_path / "bids" / f"sub-{index:02}" / "anat"
        folder.mkdir(parents=True)
        shape = (31, 37, 23 + index % 5)
        grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
        values = ((grid**2).sum(axis=0) < 0.6) * rng.uniform(50, 200, shape)
        if index == 1:
            values[:] = 7
        nib.save(nib.Nifti1Image(values.astype(np.float32), np.diag([5, 5, 5, 1])), folder / "T1w.nii.gz")
        (folder / "T1w.nii.gz").rename(folder / f"sub-{index:02}_T1w.nii.gz")
    (tmp_path / "bids" / "sub-00" / "anat" / "sub-00_T1w.nii.gz").write_bytes(b"")
    section = {
        "input": {"bids": "bids", "suffix": "T1w"},
        "canvas": 56,
        "backbone": {"kind": "untrained", "size": "tiny"},
        "dtype": "float32",
        "workers": 0,
    }
    data = {"run": {"folder": "run"}, "cache": {"store": "run/cache.zarr"}, "extract": section}
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(data))
    return tmp_path


def start(cohort: Path, *more: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [*COMMAND, "extract", str(cohort / "pipeline.yaml"), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def looks_until(cohort: Path, process: "subprocess.Popen[bytes]", enough) -> list[Status]:
    """Looks, one after another, until there is enough to see or the process is gone, and one more."""
    observer, found = Observer(str(cohort / "run" / "cache.zarr")), []
    end = time.monotonic() + 120
    while time.monotonic() < end:
        gone = process.poll() is not None
        try:
            found.append(observer.look())
        except StoreError:  # it is not there yet
            assert not found
        if gone or (found and enough(found[-1])):
            break
        time.sleep(0.02)
    return found


def are_true(looks: list[Status]) -> None:
    """What holds at every look: nothing is counted twice or not at all, and nothing committed is lost."""
    counts = [look.counts for look in looks]
    assert all(c.committed + c.failed + c.left == c.planned for c in counts)
    planned, committed = [c.planned for c in counts], [c.committed for c in counts]
    assert set(planned) <= {VOLUMES - 1, VOLUMES}  # what planning refuses has no row, and is noted next
    assert planned == sorted(planned)
    assert committed == sorted(committed)
    assert all(look.seconds_left is None or look.seconds_left >= 0 for look in looks)


def test_a_watched_extraction_is_told_truly_through_a_kill(cohort):
    process = start(cohort)
    looks = looks_until(cohort, process, lambda look: look.counts.committed >= 5)
    process.kill()
    process.communicate()
    looks += looks_until(cohort, process, lambda look: True)
    are_true(looks)
    assert 5 <= looks[-1].counts.committed < VOLUMES - 2
    (killed,) = looks[-1].crew.live  # nobody knows yet
    assert (killed.heartbeat.volumes, killed.heartbeat.pid) == (VOLUMES - 1, process.pid)
    store = str(cohort / "run" / "cache.zarr")
    objects = open_store(store)._objects
    later = crew_of(heard(objects), datetime.now(UTC) + timedelta(minutes=14))
    assert [member.state for member in later.gone] == ["lost"]

    process = start(cohort, "--shard", "0/1", "--json")
    looks = looks_until(cohort, process, lambda look: False)
    outcome = json.loads(process.communicate()[0])
    assert process.returncode == 1  # two volumes cannot be used
    assert 0 < outcome["waiting_share"] < 1
    assert 0 < outcome["waiting_seconds"] < outcome["seconds"]
    are_true(looks)
    last = looks[-1]
    assert (last.counts.committed, last.counts.failed, last.counts.left) == (VOLUMES - 2, 2, 0)
    assert sum(n for _, n in last.reasons) == 2
    ended = crew_of(heard(objects), datetime.now(UTC) + timedelta(minutes=14))
    (done,) = ended.done
    assert (done.heartbeat.shard, done.heartbeat.failed) == ("0/1", 1)
    assert done.heartbeat.committed + looks[0].counts.committed >= VOLUMES - 2
    assert done.heartbeat.busy_seconds > 0
    assert last.finished
