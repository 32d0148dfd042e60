"""Stores of made-up centres that share a fingerprint, and what is looked at when they are pooled."""

from pathlib import Path

import numpy as np
from made_up_store import (
    example_arrays,
    example_draft,
    example_header,
    example_key,
    example_row,
    tiny_png,
)

from cache_schema.format.record import Failure
from cache_schema.store.reader import open_store
from cache_schema.store.writer import StoreWriter
from cache_schema.verify.verify import verify_store

LENGTHS = [3, 11, 5, 7, 2, 13]


NAMES = ("participant_id", "session_id", "volume_id")


def fill(location, numbers, *, header=None, failed=(), pending=(), shift=0.0, keys=None):
    """A store of numbered participants, whose numbers depend on who they are and not on the store."""
    header = header or example_header(slice_chunk=5)
    keys = keys or {number: example_key(number) for number in (*numbers, *failed, *pending)}
    rows = [example_row(key, LENGTHS[number % 6]) for number, key in keys.items()]
    writer = StoreWriter.open(str(location), header, rows, durable=False)
    for number in numbers:
        arrays = example_arrays(header, LENGTHS[number % 6], number)
        arrays = {name: values + np.float32(shift) for name, values in arrays.items()}
        writer.commit(example_draft(keys[number], LENGTHS[number % 6]), arrays, tiny_png(number))
    for number in failed:
        key = keys[number]
        writer.fail(Failure(**dict(zip(NAMES, key.as_list(), strict=True)), path="x.nii", reason="constant"))
    return str(location)


def files_of(location):
    return {
        str(path.relative_to(location)): path.read_bytes()
        for path in sorted(Path(location).rglob("*"))
        if path.is_file()
    }


def people(location):
    return [entry.key.participant_id for entry in open_store(location).entries]


def said_of(location):
    store = open_store(location)
    return [
        (record.participant_id, (record.numerics or store.header.numerics).compute_dtype)
        for record in store.records()
    ]


def sound(location):
    assert verify_store(location, full=True).problems == ()
    return open_store(location)
