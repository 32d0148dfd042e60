"""Everything that can be wrong is found here, before the first token is read: stores, group, parts, truth."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from aggregate.anomaly.detectors.base import DetectorBase
from aggregate.anomaly.detectors.intensity import IntensityBaselineSpec
from aggregate.anomaly.detectors.position import PositionBaselineSpec
from aggregate.anomaly.fitting.stream import open_stream
from aggregate.anomaly.measure.truth import LesionTruth
from aggregate.anomaly.reference.candidates import CandidateVolumes, known_by_mask, read_candidates
from aggregate.anomaly.reference.group import STUDY_PARTS, StudyVolume, assign_parts, members_of
from aggregate.anomaly.reference.likeness import OVERRIDE, ReferenceProfile, check_likeness, profile_of
from aggregate.anomaly.reference.truths import FoundTruth, find_truth, free_slices, lesions_among_normals
from aggregate.anomaly.request import OWN_STORE, DetectRequest
from aggregate.anomaly.spec import DetectSpec
from aggregate.bags.views import require_view, stands_upright, view_of
from aggregate.cohort.arithmetic import mixed_numerics
from aggregate.cohort.turnout import Turnout
from cache_schema.common.errors import ConfigError, SlicecacheError
from cache_schema.store.reader import StoreReader, open_store


@dataclass(frozen=True, slots=True)
class DetectorTask:
    """One detector of the table."""

    name: str
    spec: DetectorBase
    baseline: bool
    seeds: int


@dataclass(frozen=True, slots=True)
class StoreWork:
    """One store with its volumes and the detectors that read it."""

    name: str
    store: StoreReader
    members: tuple[StudyVolume, ...]
    profile: ReferenceProfile
    """Of the fitted volumes."""
    truth: LesionTruth | None
    tasks: tuple[DetectorTask, ...]
    views: Mapping[str, StoreReader]
    """Stores of the same slices, turned or mirrored, by the names that detectors have for them."""

    def part(self, *names: str) -> list[StudyVolume]:
        """Members of some parts."""
        return [member for member in self.members if member.part in names]


@dataclass(frozen=True, slots=True)
class DetectionPlan:
    """A checked study."""

    request: DetectRequest
    works: tuple[StoreWork, ...]
    turnout: Turnout
    """Of the first store."""
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    def sentences(self) -> list[str]:
        """What will be done, in plain words."""
        found = []
        for work in self.works:
            counts = Counter(member.part for member in work.members)
            told = ", ".join(f"{part} {counts[part]}" for part in STUDY_PARTS)
            names = ", ".join(f"{task.name} x {task.seeds}" for task in work.tasks)
            found.append(f"{work.store.location}: volumes {told}; detectors (x seeds) {names}")
        return found


def plan_detection(request: DetectRequest) -> DetectionPlan:
    """Check what is asked for.

    Raises:
        SlicecacheError: If a store, the table or the masks cannot be used as asked.
    """
    detect = request.detect
    tasks = tasks_by_store(detect)
    stores = {name: open_store(request.stores[name], request.prove) for name in tasks}
    found = {name: _with_truth(request, store) for name, store in stores.items()}
    volumes = [volume for candidates, _ in found.values() for volume in candidates.volumes]
    parts = assign_parts(
        {volume.key.participant_id for volume in volumes if volume.normal},
        {volume.key.participant_id for volume in volumes if not volume.normal},
        detect.split,
    )
    labels = store_labels(list(tasks))
    works: list[StoreWork] = []
    warnings: list[str] = []
    for name, (candidates, masks) in found.items():
        warnings += candidates.turnout.warnings()
        members = members_of(candidates.volumes, parts)
        views = open_views(request, stores[name], tasks[name], members)
        work, told = _work(detect, labels[name], stores[name], members, masks.truth, tasks[name], views)
        works.append(work)
        warnings += told
    first, masks = next(iter(found.values()))
    notes = [masks.sentence, *_group_notes(detect, works[0].members)]
    return DetectionPlan(request, tuple(works), first.turnout, tuple(notes), tuple(dict.fromkeys(warnings)))


def tasks_by_store(detect: DetectSpec) -> dict[str, tuple[DetectorTask, ...]]:
    """The detectors of every store, and each store's own two baselines behind them."""
    named: dict[str, list[DetectorBase]] = {}
    for spec in detect.detectors:
        spec.build(0)  # says now, not behind the first read, that a part from outside is not there
        named.setdefault(spec.store or OWN_STORE, []).append(spec)
    labels = store_labels(list(named))
    found = {}
    taken = {spec.called for spec in detect.detectors}
    for place, (name, specs) in enumerate(named.items()):
        tasks = [DetectorTask(spec.called, spec, spec.baseline, _seeds(spec, detect)) for spec in specs]
        own = None if name == OWN_STORE else name
        for baseline in (PositionBaselineSpec(store=own), IntensityBaselineSpec(store=own)):
            if not any(spec.kind == baseline.kind for spec in specs):
                called = baseline.kind if place == 0 else f"{baseline.kind} ({labels[name]})"
                if called in taken:
                    raise ConfigError(f"two detectors are called {called!r}: give one of them another name")
                taken.add(called)
                tasks.append(DetectorTask(called, baseline, True, 1))
        found[name] = tuple(tasks)
    return found


def store_labels(names: Sequence[str]) -> dict[str, str]:
    """A short name for every store: of its path the last part, numbered where two are the same."""
    labels: dict[str, str] = {}
    for name in names:
        short = label = PurePosixPath(name).stem
        number = 1
        while label in labels.values():
            number += 1
            label = f"{short}-{number}"
        labels[name] = label
    return labels


def _seeds(spec: DetectorBase, detect: DetectSpec) -> int:
    """Baselines have nothing random."""
    return 1 if spec.baseline else detect.seeds


def _with_truth(request: DetectRequest, store: StoreReader) -> tuple[CandidateVolumes, FoundTruth]:
    """The volumes of a store, and its masks."""
    candidates = read_candidates(request, store)
    masks = find_truth(request, candidates)
    if request.detect.reference.slices is None:
        return candidates, masks
    if masks.truth is None:
        raise SlicecacheError(
            "reference: {slices: lesion_free} needs lesion masks, and none were found; say where by "
            "truth: {bids: FOLDER} or truth: {column: NAME}"
        )
    return known_by_mask(candidates, masks.truth), masks


def _work(
    detect: DetectSpec,
    name: str,
    store: StoreReader,
    members: tuple[StudyVolume, ...],
    truth: LesionTruth | None,
    tasks: Sequence[DetectorTask],
    views: Mapping[str, StoreReader],
) -> tuple[StoreWork, list[str]]:
    """Check one store's part."""
    fit = [member for member in members if member.part == "fit"]
    profile = profile_of([member.record for member in fit])
    others = [member.record for member in members if member.part != "fit"]
    how = f"aggregate.detect.{OVERRIDE}: true"
    warnings = check_likeness(profile, others, detect.allow_unlike_reference, how)
    warnings += mixed_numerics([member.record for member in members], store.header)
    # Refuses a store without patch tokens before masks are read.
    rows, cols = open_stream(store, [fit[0].entry]).reference.grid
    if detect.reference.slices is not None and truth is not None:
        members = free_slices(members, truth, (rows, cols))
    elif truth is not None:
        warnings += lesions_among_normals(members, truth)
    return StoreWork(name, store, members, profile, truth, tuple(tasks), views), warnings


def open_views(
    request: DetectRequest, store: StoreReader, tasks: Sequence[DetectorTask], members: Sequence[StudyVolume]
) -> dict[str, StoreReader]:
    """The stores that detectors are fitted on beside their own, opened and compared with it.

    Raises:
        StoreMismatch: If one differs in more than how its slices are turned.
        SlicecacheError: If one lacks a volume that is fitted on, or the main one's slices are turned askew.
    """
    if not stands_upright(store.header):
        raise ConfigError(
            f"the slices of {store.location} are turned by {view_of(store.header)['rotate_deg']!r} degrees, "
            "and maps of them cannot be placed in the volume: name the store of slices as they are, and this "
            "one in views of a memory_bank"
        )
    fit = [member.entry for member in members if member.part == "fit"]
    found = {}
    for name in dict.fromkeys(name for task in tasks for name in task.spec.view_stores):
        found[name] = open_store(request.stores[name], request.prove)
        require_view(store, found[name], name, fit)
    return found


def _group_notes(detect: DetectSpec, members: Sequence[StudyVolume]) -> list[str]:
    """Sentences on the reference group."""
    people = {
        part: len({member.participant for member in members if member.part == part}) for part in STUDY_PARTS
    }
    told = f"{people['fit']} to fit, {people['calibration']} to set thresholds, {people['test']} held out"
    notes = [f"reference group: {reference_words(detect)}; participants: {told}"]
    if detect.reference.slices is None:
        outside = {member.participant for member in members if member.part == "other"}
        normal = {member.participant for member in members if member.normal}
        if mixed := outside & normal:
            notes.append(
                f"{len(mixed)} participant(s) have volumes inside and outside the reference group; they are "
                "held out"
            )
    return notes


def reference_words(detect: DetectSpec) -> str:
    """`diagnosis = control`."""
    reference = detect.reference
    if reference.column is None:
        return "lesion-free slices of volumes with a lesion mask"
    return f"{reference.column} = {' or '.join(reference.wanted)}"
