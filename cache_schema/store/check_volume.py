"""Checking one volume: its chunks, its pads, and its numbers against its digest."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.common.errors import StoreError
from cache_schema.common.problem import EXTRACT_AGAIN, Problem
from cache_schema.files.chunks.read import read_whole
from cache_schema.files.objects import Objects
from cache_schema.format.digests.digest import volume_digest
from cache_schema.format.digests.proof import prove_array
from cache_schema.format.digests.token_statistics import same_statistics, token_statistics
from cache_schema.format.header import ArraySpec
from cache_schema.format.layout import ArrayLayout
from cache_schema.format.record import ArrayProof, VolumeRecord


def check_volume(
    objects: Objects,
    layouts: Mapping[str, ArrayLayout],
    record: VolumeRecord,
    look: Callable[[Mapping[str, NDArray[Any]]], list[Problem]] | None = None,
) -> tuple[list[Problem], int]:
    """Read a volume whole and hold it against its record.

    Args:
        objects: The store.
        layouts: By array; arrays whose metadata are damaged are absent.
        record: The volume's record, already held against its own hash.
        look: Given the kept slices of a volume that is intact, says what else is wrong with it.

    Returns:
        The problems, and the bytes of its kept slices.
    """
    problems: list[Problem] = []
    arrays: dict[str, NDArray[Any]] = {}
    size = 0
    n = len(record.slices.index)
    for name, layout in layouts.items():
        try:
            values = read_whole(objects, layout, record.row, n)
        except StoreError as error:
            problems.append(Problem(str(record.key), name, str(error), EXTRACT_AGAIN))
            continue
        arrays[name] = values[:n]
        size += arrays[name].nbytes
        problems += [Problem(str(record.key), name, text, EXTRACT_AGAIN) for text in _array_faults(values, n)]
    if not problems and arrays.keys() == record.tokens.keys():
        problems += check_digest(record, {name: layouts[name].spec for name in arrays}, arrays)
        if look is not None and not problems:
            problems += look(arrays)
    return problems, size


def _array_faults(values: NDArray[Any], n: int) -> list[str]:
    """Kept slices must be finite, and pads NaN."""
    faults = []
    rest = tuple(range(1, values.ndim))
    finite = np.isfinite(values[:n]).all(axis=rest)
    if not finite.all():
        faults.append(f"{int((~finite).sum())} of {n} kept slices hold NaN or infinity")
    filled = ~np.isnan(values[n:]).all(axis=rest)
    if filled.any():
        faults.append(f"{int(filled.sum())} slices beyond the {n} kept ones are not empty")
    return faults


def check_digest(
    record: VolumeRecord, specs: Mapping[str, ArraySpec], arrays: Mapping[str, NDArray[Any]]
) -> list[Problem]:
    """The numbers must be those that the writer had, down to the last bit.

    Each array is held to its own SHA-256. The volume digest covers all arrays at once; in records that
    have nothing else, the token statistics tell which one is not its own.
    """
    text = "the numbers are not those that were written: the SHA-256 differs from the record's"
    wrong = [
        name
        for name, proof in record.arrays.items()
        if name in arrays and _proof_differs(record, specs[name], arrays[name], proof)
    ]
    if wrong:
        return [Problem(str(record.key), name, text, EXTRACT_AGAIN) for name in wrong]
    if volume_digest(record.key, arrays) == record.digest:
        return []
    text = "the numbers are not those that were written: the volume digest differs from the record's"
    wrong = [
        name
        for name, spec in specs.items()
        if not same_statistics(token_statistics(spec, arrays[name]), record.tokens[name])
    ]
    return [Problem(str(record.key), name, text, EXTRACT_AGAIN) for name in wrong or ["(any)"]]


def _proof_differs(record: VolumeRecord, spec: ArraySpec, values: NDArray[Any], proof: ArrayProof) -> bool:
    """Whether an array comes to something else than its record says, block by block where it says so."""
    step = proof.block_slices or max(1, len(values))
    return prove_array(record.key, spec, values, step) != proof
