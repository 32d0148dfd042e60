"""What is inside a fitted detector: the numbers of its epochs, and which part a patch comes from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from aggregate.anomaly.detectors.base import layers_of
from aggregate.anomaly.findings.results import PartArray
from aggregate.anomaly.fitting.stream import open_stream
from aggregate.anomaly.reference.group import StudyVolume
from aggregate.anomaly.scoring.execute import FinishedStore
from aggregate.anomaly.scoring.volumes import ScoreArray

CURVE_COLUMNS = ("detector", "seed", "epoch", "quantity", "value")
AT_ONCE = 16
"""Slices."""


@dataclass(frozen=True, slots=True)
class Inside:
    """What a detector that has parts says of a volume."""

    parts: PartArray
    """`(slice, row, col)`: which of them each patch comes from."""
    likelihood: ScoreArray | None
    """`(slice, row, col)`: log densities, where there are any and they were asked for."""


def curve_table(finished: Sequence[FinishedStore]) -> pd.DataFrame:
    """The content of `curves.csv`: a row per detector, seed, epoch and quantity; empty without epochs."""
    rows = [
        (fitted.name, fitted.seed, epoch, quantity, value)
        for one in finished
        for fitted in one.fitted
        for quantity, values in fitted.detector.curves().items()
        for epoch, value in enumerate(values, 1)
    ]
    return pd.DataFrame(rows, columns=list(CURVE_COLUMNS))


def part_maps(finished: FinishedStore, member: StudyVolume) -> dict[str, PartArray]:
    """Of every detector's first seed that has parts: which one each patch of a volume comes from."""
    return {name: found.parts for name, found in insides(finished, member).items()}


def insides(finished: FinishedStore, member: StudyVolume, likelihood: bool = False) -> dict[str, Inside]:
    """What every detector's first seed that has parts says of them in a volume.

    Args:
        finished: Of the volume's store.
        member: The volume.
        likelihood: Whether log densities are asked for.
    """
    first = {fitted.name: fitted.detector for fitted in reversed(finished.fitted)}
    maps: dict[str, list[tuple[PartArray, ScoreArray | None]]] = {}
    stream = open_stream(
        finished.work.store, [member.entry], layers=layers_of(one.spec for one in first.values())
    )
    for _, batch in stream.in_order(AT_ONCE):
        for name, detector in list(first.items()):
            seen = batch.of(detector.spec.tokens)
            parts = detector.nearest_part(seen)
            if parts is None:
                del first[name]
                continue
            density = detector.log_likelihood(seen) if likelihood else None
            maps.setdefault(name, []).append(
                (parts.numpy(), None if density is None else density.float().numpy())
            )
        if not first:
            return {}
    return {name: _joined(parts) for name, parts in maps.items()}


def _joined(pieces: Sequence[tuple[PartArray, ScoreArray | None]]) -> Inside:
    """Batches of one volume behind one another."""
    densities = [density for _, density in pieces if density is not None]
    return Inside(
        np.concatenate([parts for parts, _ in pieces]),
        np.concatenate(densities) if densities else None,
    )
