"""Where the lesion masks of a study come from, and what the reference group's own masks say."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from aggregate.anomaly.maps.placement import placement
from aggregate.anomaly.measure.truth import LesionTruth, bids_truth, column_truth, lesion_slices
from aggregate.anomaly.reference.candidates import CandidateVolumes
from aggregate.anomaly.reference.group import StudyVolume
from aggregate.anomaly.request import DetectRequest
from aggregate.common.table_values import listed
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.terminal.progress import counting


@dataclass(frozen=True, slots=True)
class FoundTruth:
    """Masks, if there are any, and a sentence."""

    truth: LesionTruth | None
    sentence: str


def find_truth(request: DetectRequest, candidates: CandidateVolumes) -> FoundTruth:
    """Find the masks of one store's volumes.

    Members of a reference group that a column names are free of lesions, unless they have a mask.

    Raises:
        SlicecacheError: If masks are asked for and there are none, or one cannot be used.
    """
    spec = request.detect.truth
    if spec is not None and spec.off:
        return FoundTruth(None, "lesion masks were not looked for")
    healthy = [volume.key for volume in candidates.volumes if volume.normal]
    records = [volume.record for volume in candidates.volumes]
    if spec is not None and spec.column is not None:
        cells = {volume.key: volume.mask for volume in candidates.volumes}
        truth = column_truth(cells, candidates.folder, healthy)
        where = f"the column {spec.column!r}"
    else:
        root = request.masks or request.images
        if root is None:
            if spec is not None:
                raise SlicecacheError(
                    "truth: bids needs a BIDS root: that of extract.input.bids, or truth: {bids: FOLDER}"
                )
            return FoundTruth(None, "no lesion masks were found")
        truth = bids_truth(records, root, healthy)
        where = "the BIDS dataset"
    if truth.masks:
        return FoundTruth(truth, f"{len(truth.masks)} lesion masks from {where}")
    if spec is not None or request.detect.reference.slices is not None:
        raise SlicecacheError(f"no volume has a lesion mask in {where}, and masks were asked for")
    return FoundTruth(None, "no lesion masks were found")


def free_slices(
    members: Sequence[StudyVolume], truth: LesionTruth, grid: tuple[int, int]
) -> tuple[StudyVolume, ...]:
    """Narrow fit and calibration volumes to their slices without a lesion."""
    found = []
    with counting("reading masks", len(members)) as count:
        for member in members:
            inside = member.part in ("fit", "calibration")
            found.append(replace(member, slices=_free(member, truth, grid)) if inside else member)
            count()
    return tuple(found)


def _free(member: StudyVolume, truth: LesionTruth, grid: tuple[int, int]) -> tuple[int, ...]:
    """Kept slices of one volume that show no lesion."""
    shown = lesion_slices(truth.read(member.record), placement(member.record, grid))
    return tuple(int(place) for place in (~shown).nonzero()[0])


def lesions_among_normals(members: Sequence[StudyVolume], truth: LesionTruth) -> list[str]:
    """Warn of reference volumes whose own mask shows a lesion."""
    found = []
    asked = [
        member
        for member in members
        if member.part in ("fit", "calibration") and member.slices is None and member.key in truth.masks
    ]
    with counting("reading masks", len(asked)) as count:
        for member in asked:
            found += [str(member.key)] * bool(truth.read(member.record).any())
            count()
    if not found:
        return []
    return [
        f"{len(found)} volume(s) of the reference group have a lesion in their mask, and detectors take it "
        f"for normal: {listed(found)}; leave them out by where"
    ]
