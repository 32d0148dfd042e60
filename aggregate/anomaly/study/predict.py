"""Apply fitted detectors to a store: one row per volume and detector, and maps where asked."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from aggregate.anomaly.detectors.base import Detector
from aggregate.anomaly.findings.rows import judged_row, volume_frame
from aggregate.anomaly.fitting.stream import SliceStream, open_stream
from aggregate.anomaly.reference.group import STUDY_PARTS, Part
from aggregate.anomaly.reference.likeness import check_likeness
from aggregate.anomaly.scoring.fitted import Fitted, Judged
from aggregate.anomaly.scoring.volumes import score_volumes, surroundings
from aggregate.anomaly.study.bundle import DetectorBundle, DetectorCard
from aggregate.anomaly.study.map_files import describe_fits, write_map_once
from aggregate.predict.check import warn_of_numerics
from aggregate.predict.seen import recognise
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.terminal.progress import Progress, bar
from cache_schema.format.header import require_equal
from cache_schema.format.identity import VolumeKey
from cache_schema.store.reader import StoreReader, VolumeEntry


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be scored, and by what."""

    bundle: DetectorBundle
    store: StoreReader
    entries: tuple[VolumeEntry, ...]
    maps: Path | None
    """Folder for NIfTI maps."""


Judge = Callable[[Asked, Progress | None], Iterable[tuple[VolumeKey, list[Judged]]]]
"""Says of every volume, in any order, what each of the bundle's detectors says of it."""


def predict_detectors(
    bundle: DetectorBundle,
    store: StoreReader,
    *,
    maps: Path | None = None,
    allow_unlike: bool = False,
    judge: Judge | None = None,
) -> tuple[pd.DataFrame, list[str]]:
    """Score every committed volume of a store that the detectors were not fitted on, under any id.

    Args:
        bundle: Of fitted detectors.
        store: Of the same embeddings.
        maps: Folder for NIfTI maps of what was scored, by each detector's first seed.
        allow_unlike: Score volumes unlike the reference group too.
        judge: Scores volumes, here or elsewhere; `judge_here` by default.

    Returns:
        Rows as in `scores.csv` (a volume of a participant who was fitted on has part `fit` and no score),
        and warnings.

    Raises:
        StoreMismatch: If the store's fingerprint is not the bundle's, naming the fields.
        SlicecacheError: If a volume is unlike the reference group, or the store has no patch tokens.
    """
    card = bundle.card
    require_equal(
        card.fingerprint,
        store.header.fingerprint,
        f"the bundle (here) was fitted on other embeddings than the store {store.location} (there) holds",
        "Extract a store as the bundle's was made.",
    )
    warn_of_numerics(card.numerics, store.header, store.location)
    known = recognise(card.holders, store.records())
    parts = {entry.key: part_of(card, known.known_as(entry.key.participant_id)) for entry in store.entries}
    entries = [entry for entry in store.entries if parts[entry.key] != "fit"]
    how = "--allow-unlike-reference"
    records = [store.record(entry.key) for entry in entries]
    warnings = check_likeness(card.profile, records, allow_unlike, how)
    if known.n_volumes:
        warnings.append(known.sentence("of the part that they had there, and not scored where that is fit"))
    rows: list[tuple[int, dict[str, object]]] = [
        (n, judged_row(entry.key, "fit", fitted, None))
        for entry in store.entries
        if parts[entry.key] == "fit"
        for n, fitted in enumerate(bundle.fitted)
    ]
    if entries:
        asked = Asked(bundle, store, tuple(entries), maps)
        rows += _scored(asked, {e.key: parts[e.key] for e in entries}, judge or judge_here)
    rows.sort(key=lambda row: (row[0], str(row[1]["participant_id"]), *map(str, list(row[1].values())[1:3])))
    return volume_frame([row for _, row in rows]), warnings


def part_of(card: DetectorCard, names: Collection[str]) -> Part:
    """The part that somebody had in the reference group, under any of their names, else `other`."""
    found = {part for part, people in card.participants.items() if any(name in people for name in names)}
    return next((part for part in STUDY_PARTS if part in found), "other")


def _scored(
    asked: Asked, parts: Mapping[VolumeKey, Part], judge: Judge
) -> list[tuple[int, dict[str, object]]]:
    """Rows of the volumes, by the place of their detector."""
    bundle, store = asked.bundle, asked.store
    reference = open_stream(store, [max(asked.entries, key=lambda entry: entry.n_slices)]).reference
    if reference.grid != bundle.card.grid or reference.dim != bundle.card.dim:
        raise SlicecacheError(
            f"the bundle's detectors read {bundle.card.grid} patches of {bundle.card.dim} numbers; "
            f"{store.location} has {reference.grid} of {reference.dim}"
        )
    if asked.maps is not None:
        describe_fits(asked.maps, first_seeds(bundle.fitted), bundle.card.fingerprint.digest, "zero")
    with bar("scoring") as progress:
        return [
            (n, judged_row(key, parts[key], fitted, own))
            for key, judged in judge(asked, progress)
            for n, (fitted, own) in enumerate(zip(bundle.fitted, judged, strict=True))
        ]


def judge_here(asked: Asked, progress: Progress | None) -> Iterator[tuple[VolumeKey, list[Judged]]]:
    """Score in this process: one read of the store for all detectors."""
    stream = open_stream(asked.store, asked.entries, layers=asked.bundle.layers)
    yield from judged_volumes(asked, stream, progress)


def judged_volumes(
    asked: Asked,
    stream: SliceStream,
    progress: Progress | None = None,
    turn: AbstractContextManager[Any] | None = None,
) -> Iterator[tuple[VolumeKey, list[Judged]]]:
    """What the detectors say of the volumes of a stream; maps are written where asked.

    Args:
        asked: The bundle, the store and the folder of maps.
        stream: Of volumes of the store.
        progress: As `score_volumes`.
        turn: As `score_volumes`.
    """
    bundle, store = asked.bundle, asked.store
    detectors: list[Detector] = [fitted.detector for fitted in bundle.fitted]
    drawn = first_seeds(bundle.fitted)
    storage = bundle.card.numerics.storage_dtype
    for entry, found in score_volumes(stream, lambda _: detectors, storage, progress, turn):
        around = surroundings(store, entry)
        judged = []
        for fitted, raw in zip(bundle.fitted, found, strict=True):
            scores = fitted.scaled(raw, around)
            judged.append(fitted.judge(scores, around))
            if asked.maps is not None and any(fitted is one for one in drawn):
                write_map_once(asked.maps, store.record(entry.key), fitted, scores, None, "zero")
        yield entry.key, judged


def first_seeds(fitted: Sequence[Fitted]) -> list[Fitted]:
    """One fit of every detector: that of the first seed."""
    return list({one.name: one for one in reversed(fitted)}.values())[::-1]
