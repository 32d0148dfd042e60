"""Importing the contract is cheap, and a folder is written and read without zarr and h5py."""

import os
import subprocess
import sys

import pytest

HEAVY = ("zarr", "h5py", "torch", "pandas")


def loaded_after(code):
    check = f"import sys\nprint(*[name for name in {HEAVY} + ('numpy',) if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{check}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "store.reader",
        "store.writer",
        "store.seal",
        "verify.verify",
        "move.pack",
        "move.remove",
        "common.pipeline_file",
    ],
)
def test_modules_import_neither_zarr_nor_h5py(module):
    assert not loaded_after(f"import cache_schema.{module}") & set(HEAVY)


def test_package_and_command_import_no_numpy():
    assert loaded_after("import cache_schema, cache_schema.cli") == set()


def test_a_folder_is_written_packed_and_read_without_zarr(tmp_path):
    plain, packed = str(tmp_path / "s"), str(tmp_path / "p")
    write = f"""
from made_up_store import *
from cache_schema.store.writer import StoreWriter
header = example_header(("cls",))
writer = StoreWriter.open({plain!r}, header, [example_row(example_key(0), 5)])
writer.commit(example_draft(example_key(0), 5), example_arrays(header, 5))
from cache_schema.move.pack import pack
pack({plain!r}, {packed!r})
"""
    assert loaded_after(write) == {"numpy"}
    for location in (plain, packed):
        code = f"from cache_schema.store.reader import open_store\nopen_store({location!r}).read('cls')"
        assert loaded_after(code) == {"numpy"}
