"""In which order a commit waits for the disk; `power_loss` shows that it is enough, and all of it needed."""

import os
from pathlib import Path

import pytest
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row

from cache_schema.files.disk import durable
from cache_schema.format.layout import record_name
from cache_schema.store.seal import seal
from cache_schema.store.writer import StoreWriter

KEY = example_key(0)
HEADER = example_header(("cls", "patches"), slice_chunk=4)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """`sync PATH` and `name PATH` in their order."""
    steps: list[str] = []
    sync, replace, unlink = durable.sync, os.replace, os.unlink

    def noted_sync(file):
        steps.append(f"sync {os.readlink(f'/proc/self/fd/{file}')}")
        sync(file)

    def noted_replace(old, new):
        steps.append(f"name {old} {new}")
        replace(old, new)

    def noted_unlink(path):
        unlink(path)
        steps.append(f"gone {path}")

    for module in ("cache_schema.files.disk.durable.sync", "cache_schema.files.objects.sync"):
        monkeypatch.setattr(module, noted_sync)
    monkeypatch.setattr(os, "replace", noted_replace)
    monkeypatch.setattr(os, "unlink", noted_unlink)
    return steps


def write(location: Path, **how: bool) -> StoreWriter:
    writer = StoreWriter.open(str(location), HEADER, [example_row(KEY, 9)], **how)
    writer.commit(example_draft(KEY, 9), example_arrays(HEADER, 9), preview=b"png")
    return writer


needs_proc = pytest.mark.skipif(
    not os.path.isdir("/proc/self/fd"), reason="reads the names of opened files in /proc"
)


@needs_proc
def test_bytes_then_names_then_the_record_then_its_name(tmp_path, steps):
    location = tmp_path / "store.zarr"
    write(location)
    named = {line.split()[2]: place for place, line in enumerate(steps) if line.startswith("name")}
    old = {line.split()[2]: line.split()[1] for line in steps if line.startswith("name")}
    record = f"{location}/{record_name(KEY)}"
    chunks = [path for path in named if "/c." in path and path.startswith(str(location))]
    assert len(chunks) == 3 * len(HEADER.arrays)
    for path in (*chunks, record):
        assert steps.index(f"sync {old[path]}") < named[path]
    for name in (spec.name for spec in HEADER.arrays):
        last = max(named[path] for path in chunks if f"/{name}/" in path)
        assert last < steps.index(f"sync {location}/{name}", last) < named[record]
    after = steps[named[record] :]
    for folder in (os.path.dirname(record), f"{location}/records", str(location)):
        assert f"sync {folder}" in after


@needs_proc
def test_a_seal_that_was_taken_off_is_off_before_anything_is_written(tmp_path, steps):
    location = tmp_path / "store.zarr"
    writer = write(location)
    seal(str(location))
    steps.clear()
    writer.remove_record(KEY)
    last = steps.index(f"gone {location}/{record_name(KEY)}")
    assert steps.index(f"gone {location}/sealed/index.json") < steps.index(f"sync {location}/sealed") < last
    assert f"sync {os.path.dirname(f'{location}/{record_name(KEY)}')}" in steps[last:]


@needs_proc
def test_who_does_not_want_to_wait_does_not(tmp_path, steps):
    write(tmp_path / "store.zarr", durable=False)
    assert [line for line in steps if line.startswith("sync")] == []


def test_folders_that_cannot_be_synced_are_let_be_and_files_are_not(tmp_path, monkeypatch):
    def refuse(file):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(durable, "sync", refuse)
    durable.sync_folder(tmp_path)
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(OSError, match="Invalid argument"):
        durable.sync_file(tmp_path / "x")
