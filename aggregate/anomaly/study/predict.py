"""Apply fitted detectors to a store: one row per volume and detector, and maps where asked."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from aggregate.anomaly.detectors.base import Detector
from aggregate.anomaly.findings.rows import volume_frame, volume_row
from aggregate.anomaly.fitting.stream import open_stream
from aggregate.anomaly.reference.group import Part
from aggregate.anomaly.reference.likeness import check_likeness
from aggregate.anomaly.scoring.fitted import Fitted
from aggregate.anomaly.scoring.volumes import score_volumes, surroundings
from aggregate.anomaly.study.bundle import DetectorBundle, DetectorCard
from aggregate.anomaly.study.map_files import describe_fits, write_map_once
from aggregate.predict.predict import warn_of_numerics
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.terminal.progress import bar
from cache_schema.format.header import require_equal
from cache_schema.store.reader import StoreReader, VolumeEntry


def predict_detectors(
    bundle: DetectorBundle,
    store: StoreReader,
    *,
    maps: Path | None = None,
    allow_unlike: bool = False,
) -> tuple[pd.DataFrame, list[str]]:
    """Score every committed volume of a store that the detectors were not fitted on.

    Args:
        bundle: Of fitted detectors.
        store: Of the same embeddings.
        maps: Folder for NIfTI maps of what was scored, by each detector's first seed.
        allow_unlike: Score volumes unlike the reference group too.

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
    parts = {entry.key: part_of(card, entry) for entry in store.entries}
    entries = [entry for entry in store.entries if parts[entry.key] != "fit"]
    how = "--allow-unlike-reference"
    records = [store.record(entry.key) for entry in entries]
    warnings = check_likeness(card.profile, records, allow_unlike, how)
    rows: list[tuple[int, dict[str, object]]] = [
        (n, volume_row(entry.key, "fit", fitted, None, None))
        for entry in store.entries
        if parts[entry.key] == "fit"
        for n, fitted in enumerate(bundle.fitted)
    ]
    if entries:
        rows += _scored(bundle, store, entries, {e.key: parts[e.key] for e in entries}, maps)
    rows.sort(key=lambda row: (row[0], str(row[1]["participant_id"]), *map(str, list(row[1].values())[1:3])))
    return volume_frame([row for _, row in rows]), warnings


def part_of(card: DetectorCard, entry: VolumeEntry) -> Part:
    """A volume's part: that of its participant in the reference group, else `other`."""
    found = [part for part, names in card.participants.items() if entry.key.participant_id in names]
    return found[0] if found else "other"


def _scored(
    bundle: DetectorBundle,
    store: StoreReader,
    entries: Sequence[VolumeEntry],
    parts: dict[object, Part],
    maps: Path | None,
) -> list[tuple[int, dict[str, object]]]:
    """Rows of the volumes, by the place of their detector."""
    stream = open_stream(store, entries)
    if stream.reference.grid != bundle.card.grid or stream.reference.dim != bundle.card.dim:
        raise SlicecacheError(
            f"the bundle's detectors read {bundle.card.grid} patches of {bundle.card.dim} numbers; "
            f"{store.location} has {stream.reference.grid} of {stream.reference.dim}"
        )
    detectors: list[Detector] = [fitted.detector for fitted in bundle.fitted]
    drawn = first_seeds(bundle.fitted)
    if maps is not None:
        describe_fits(maps, drawn, bundle.card.fingerprint.digest, "zero")
    rows = []
    with bar("scoring") as progress:
        storage = bundle.card.numerics.storage_dtype
        for entry, found in score_volumes(stream, lambda _: detectors, storage, progress):
            around = surroundings(store, entry)
            for n, (fitted, raw) in enumerate(zip(bundle.fitted, found, strict=True)):
                scores = fitted.scaled(raw, around)
                rows.append((n, volume_row(entry.key, parts[entry.key], fitted, scores, around)))
                if maps is not None and any(fitted is one for one in drawn):
                    write_map_once(maps, store.record(entry.key), fitted, scores, None, "zero")
    return rows


def first_seeds(fitted: Sequence[Fitted]) -> list[Fitted]:
    """One fit of every detector: that of the first seed."""
    return list({one.name: one for one in reversed(fitted)}.values())[::-1]
