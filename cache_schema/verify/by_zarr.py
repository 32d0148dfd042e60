"""The store as everybody else reads it: through zarr-python, and held against our own reader.

The format promises that a store is a plain Zarr v3 group. Our reader has its own way to chunks, so it alone
cannot show that; here each array is opened as any program would, and some volumes are read both ways.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from cache_schema.common.problem import WRITE_AGAIN, Problem
from cache_schema.files.chunks.read import read_volumes
from cache_schema.files.objects import LocalObjects, Objects
from cache_schema.format.layout import ArrayLayout
from cache_schema.verify.records import SoundRecord

CLASS = re.compile(r"<class '([\w.]+)'>")
"""How a library names a type in its messages."""
SAMPLE = 3
"""Volumes of each array that are read both ways: the first, the last and the one in the middle."""


def check_by_zarr(
    objects: Objects, layouts: Mapping[str, ArrayLayout], records: Sequence[SoundRecord]
) -> Iterator[Problem]:
    """Every array must be to zarr-python what it is to us; for a folder in which nothing else is wrong.

    Args:
        objects: The store; nothing is looked at that is no folder.
        layouts: Of its arrays.
        records: Of the committed volumes.
    """
    if not isinstance(objects, LocalObjects):
        return
    places = sorted({0, len(records) // 2, len(records) - 1} if records else ())[:SAMPLE]
    for name, layout in layouts.items():
        try:
            text = _difference(objects, layout, open_array(objects, name), [records[at] for at in places])
        except (ValueError, KeyError, TypeError, OSError, RuntimeError) as error:
            said = " ".join(CLASS.sub(r"\1", str(error)).split())[:160]
            text = f"zarr-python cannot read it: {said}"
        if text:
            yield Problem("", name, text, WRITE_AGAIN)


def open_array(objects: LocalObjects, name: str) -> Any:
    """An array of a folder as zarr-python opens it."""
    import zarr
    from zarr.storage import LocalStore

    return zarr.open_group(LocalStore(objects.root, read_only=True), mode="r")[name]


def _difference(
    objects: LocalObjects, layout: ArrayLayout, array: Any, records: Sequence[SoundRecord]
) -> str:
    """What zarr-python sees otherwise than we do; empty when nothing."""
    if (array.shape, array.dtype) != (layout.shape, layout.dtype):
        return f"zarr-python sees {array.shape} of {array.dtype}, not {layout.shape} of {layout.dtype}"
    for record in records:
        ours, _ = read_volumes(objects, layout, [record.row], [record.n_slices])
        theirs = np.ascontiguousarray(array[record.row, : record.n_slices])
        if theirs.tobytes() != ours[0].tobytes():
            return f"zarr-python reads other numbers of {record.key} than we do"
    return ""
