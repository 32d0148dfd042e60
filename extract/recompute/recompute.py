"""Recompute some slices of a store from their images, with the backbone that its header names.

The other checks hold a store against itself; this one holds it against what it was made from, and finds a
store whose numbers were made otherwise than its header says.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from cache_schema.common.errors import StoreError, VolumeError
from cache_schema.common.pipeline_file import Pipeline
from cache_schema.common.problem import EXTRACT_AGAIN, Problem
from cache_schema.format.header import Numerics
from cache_schema.format.identity import VolumeKey
from cache_schema.format.inputs import differing_inputs
from cache_schema.format.record import VolumeRecord
from cache_schema.store.reader import StoreReader, open_store
from extract.engines.device import choose_device, this_machine
from extract.engines.embed import Embedder
from extract.engines.in_hand import CommitParts
from extract.planning.config import origin_of
from extract.recompute.compare import (
    FLAT_ARRAYS,
    RESAMPLED,
    TOLERANCES,
    Tolerance,
    Worst,
    compare_tokens,
    tolerance_of,
)
from extract.recompute.making import backbone_of_header, find_again, from_folder, preprocessing_of_header
from extract.recompute.sample import draw_slices, some_slices
from extract.slices.prepare import PreparedVolume, prepare_volume
from extract.slices.preprocessing import Preprocessing
from extract.sources.candidate import Candidate

OTHERWISE = "these numbers were not made as the header says: extract to a new store and use that one"
SOURCE = "bring the file back that it was made from, or embed the new one with extract --replace"
LIST_IT = "give the input that lists it with --input or --pipeline"


@dataclass(frozen=True, slots=True)
class DeepCheck:
    """What recomputing found."""

    location: str
    n_slices: int
    """Slices recomputed and compared."""
    n_volumes: int
    tolerance: Tolerance
    reason: str
    """Why this tolerance."""
    arrays: dict[str, Worst]
    problems: tuple[Problem, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    @property
    def identical(self) -> bool:
        """Whether every recomputed number came back to the last bit."""
        return self.ok and all(worst.difference == 0 for worst in self.arrays.values())

    def as_json(self) -> dict[str, Any]:
        """The whole as JSON data."""
        return {"ok": self.ok, "identical": self.identical, **asdict(self)}


@dataclass(slots=True)
class _Found:
    arrays: dict[str, Worst] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    slices: int = 0
    volumes: int = 0


def recompute(
    location: str,
    k: int,
    seed: int = 0,
    *,
    pipeline: Pipeline | None = None,
    root: Path | None = None,
    backbone_folder: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DeepCheck:
    """Recompute `k` random slices and compare them with what the store holds.

    Args:
        location: The store.
        k: Slices, drawn without repeats over all committed volumes.
        seed: Of the draw.
        pipeline: Says where images and backbone are; without it the header's provenance does.
        root: Where the images are now.
        backbone_folder: A checkpoint to use instead of what was recorded.
        progress: Called with the volumes done and their number.

    Raises:
        StoreMismatch: If the backbone is not the store's.
        ConfigError: If images or backbone cannot be found.
    """
    start = time.perf_counter()
    store = open_store(location, prove="sha256")
    origin = origin_of(store.header, location, pipeline)
    spec = origin.backbone if backbone_folder is None else from_folder(origin.backbone, backbone_folder)
    preprocessing = preprocessing_of_header(store.header, origin.allow_unknown_orientation)
    compiled = any(each.engine != "torch" for each in (store.header.numerics, *store.header.other_numerics))
    device = choose_device("cpu" if compiled else "auto", this_machine())

    @cache
    def embedder_of(numerics: Numerics) -> Embedder:
        """The store's backbone with one arithmetic; a merge of stores may hold several."""
        return Embedder(
            backbone_of_header(store.header, numerics, spec, preprocessing.pixels, device, origin.offline),
            device,
            frozenset(array.name for array in store.header.arrays),
            origin.batch_size,
            preprocessing.mean,
            preprocessing.std,
        )

    embedder_of(store.header.numerics)  # another backbone is refused before the images are looked for
    candidates = find_again(origin.input, origin.base, root)
    drawn = draw_slices(store.entries, k, seed)
    tolerance, reason = tolerance_of(store.header, store.header.numerics, device)
    found = _Found({spec.name: Worst() for spec in store.header.arrays})
    for done, (entry, places) in enumerate(drawn, start=1):
        record = store.record(entry.key)
        numerics = record.numerics or store.header.numerics
        prepared = _prepared(record, candidates.get(entry.key), preprocessing, found)
        if prepared is not None:
            embedder = embedder_of(numerics)
            fresh = [*embedder.add(some_slices(prepared, places)), *embedder.flush()]
            own, _ = tolerance_of(store.header, numerics, device)
            compare_volume(store, entry.key, places, fresh[0], own, found)
        if progress is not None:
            progress(done, len(drawn))
    return DeepCheck(
        location,
        found.slices,
        found.volumes,
        tolerance,
        reason,
        found.arrays,
        tuple(found.problems),
        time.perf_counter() - start,
    )


def _prepared(
    record: VolumeRecord, candidate: Candidate | None, preprocessing: Preprocessing, found: _Found
) -> PreparedVolume | None:
    """The volume's slices from its file, or None after the problem was noted."""
    volume = str(record.key)
    if candidate is None:
        found.problems.append(Problem(volume, "source", "the input does not list this volume", LIST_IT))
        return None
    try:
        prepared = prepare_volume(candidate, preprocessing)
    except VolumeError as error:
        found.problems.append(Problem(volume, "source", str(error), SOURCE))
        return None
    if (changed := source_change(record, prepared)) is not None:
        found.problems.append(Problem(volume, "source", changed, SOURCE))
        return None
    if prepared.draft.slices.index != record.slices.index:
        kept = f"the record has {len(record.slices.index)} slices, the header's rule keeps "
        kept += f"{len(prepared.draft.slices.index)} (or others)"
        found.problems.append(Problem(volume, "record", kept, OTHERWISE))
        return None
    if not _same_place(record, prepared):
        where = "the canvas lies elsewhere in the volume than the header's rules put it"
        found.problems.append(Problem(volume, "record", where, OTHERWISE))
    return prepared


def source_change(record: VolumeRecord, prepared: PreparedVolume) -> str | None:
    """How a file differs from the one that was embedded; a new time alone is no change."""
    before, now = record.source, prepared.draft.source
    if before.sha256 != now.sha256:
        return (
            f"its file {now.path!r} has changed since it was embedded: {before.bytes} bytes then and "
            f"{now.bytes} now, sha256 {before.sha256[:12]} then and {now.sha256[:12]} now"
        )
    if record.inputs is None or prepared.draft.inputs is None:
        return None
    changed = differing_inputs(record.inputs, prepared.draft.inputs)
    return f"not as it was when it was embedded: its {', its '.join(changed)}" if changed else None


def _same_place(record: VolumeRecord, prepared: PreparedVolume) -> bool:
    before, now = record.geometry.canvas_to_native, prepared.draft.geometry.canvas_to_native
    return bool(np.allclose(before, now, rtol=0, atol=1e-3))


def compare_volume(
    store: StoreReader,
    key: VolumeKey,
    places: Sequence[int],
    fresh: CommitParts,
    tolerance: Tolerance,
    found: _Found,
) -> None:
    """Compare every array of some slices; one problem per array, at its worst slice."""
    draft, arrays = fresh.draft, fresh.arrays
    found.slices += len(places)
    found.volumes += 1
    for spec in store.header.arrays:
        try:
            stored = store.read_volume(spec.name, key)[list(places)].astype(np.float64)
        except StoreError as error:
            found.problems.append(Problem(str(key), spec.name, str(error), EXTRACT_AGAIN))
            continue
        again = arrays[spec.name].astype(spec.dtype).astype(np.float64)
        cosine, difference, share = compare_tokens(stored, again, spec.name in FLAT_ARRAYS)
        worst = found.arrays[spec.name]
        worst.cosine = min(worst.cosine, float(cosine.min()))
        worst.difference = max(worst.difference, float(difference.max()))
        worst.share = max(worst.share, float(share.max()))
        limit = TOLERANCES["float32"] if spec.name in RESAMPLED else tolerance
        bad = (cosine < limit.cosine) | (share > limit.share)
        if bad.any():
            place = int(np.argmax(np.where(bad, share, -1.0)))
            said = (
                f"slice {draft.slices.index[place]} comes out otherwise: cosine {cosine[place]:.5f} "
                f"(at least {limit.cosine}), difference {difference[place]:.3g}, "
                f"{share[place]:.1%} of its largest number (at most {limit.share:.1%})"
            )
            more = f"; {int(bad.sum())} of {len(places)} slices" if len(places) > 1 else ""
            found.problems.append(Problem(str(key), spec.name, said + more, OTHERWISE))
