"""Made-up people with tokens of their own, in a store, and the table of their labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from made_up_store import example_draft, example_header, example_row

from cache_schema.format.identity import VolumeKey
from cache_schema.store.writer import StoreWriter

DIM = 7


def people_store(
    place: Path,
    people: Sequence[str],
    sick: Sequence[bool],
    seed: int,
    *,
    sessions: int = 1,
    effect: float = 1.5,
    noise: float = 0.3,
    shift: float = 0.0,
    spacing_mm: float = 2.0,
    array: str = "cls",
    **changes: Any,
) -> None:
    """Write a store; patients' tokens differ in one dimension.

    Args:
        place: Of the store.
        people: Ids.
        sick: Of every one.
        seed: Of everything drawn.
        sessions: Volumes of every one.
        effect: Of being sick, in standard deviations between people.
        noise: How much slices of one volume differ.
        shift: Added to every token.
        spacing_mm: Of neighbouring slices; voxels are half as wide.
        array: That tokens stand in.
        changes: Whole fields of the records that differ from the example's.
    """
    header = example_header((array,), dim=DIM, slice_chunk=9)
    visits = [f"s{visit}" for visit in range(sessions)] if sessions > 1 else [""]
    keys = [VolumeKey(name, visit, "T1w") for name in people for visit in visits]
    writer = StoreWriter.open(str(place), header, [example_row(key, 9) for key in keys])
    for number, key in enumerate(keys):
        stream, length = np.random.default_rng([seed, number]), 6 + number % 3
        own = stream.normal(size=DIM)
        own[0] += effect * sick[number // sessions]
        tokens = shift + own + noise * stream.normal(size=(length, DIM))
        draft = example_draft(key, length, **changes)
        wide = {"spacing_mm": (spacing_mm / 2, spacing_mm / 2, spacing_mm)}
        apart = {"spacing_mm": spacing_mm}
        fields = {"geometry": draft.geometry.model_copy(update=wide)}
        fields |= {"slices": draft.slices.model_copy(update=apart)}
        writer.commit(draft.model_copy(update=fields), {array: tokens.astype(np.float32)})


def people_table(
    place: Path, people: Sequence[str], labels: Sequence[str], column: str = "diagnosis"
) -> None:
    """Write the table of their labels."""
    rows = [f"{name}\t{label}" for name, label in zip(people, labels, strict=True)]
    place.write_text("\n".join([f"participant_id\t{column}", *rows]) + "\n")


def words(sick: Sequence[bool]) -> list[str]:
    """What they are called."""
    return ["patient" if s else "control" for s in sick]
