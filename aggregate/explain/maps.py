"""Maps of slices as NIfTI in each volume's own space: one value per slice, and saliency."""

import shutil

import numpy as np

from aggregate.anomaly.maps.maps import map_name
from aggregate.anomaly.maps.nifti import write_map
from aggregate.anomaly.maps.placement import native_map, placement
from aggregate.common.arrays import Floats
from aggregate.common.artefacts import write_json
from aggregate.explain.explain import Explained
from aggregate.explain.run import TrainedStudy
from aggregate.explain.tables import mean_maps
from aggregate.saliency.maps import ATTENTION, saliency_map
from cache_schema.common.terminal.progress import counting
from cache_schema.format.record import VolumeRecord

MAPS = "maps"
SUFFIX = "slicemap"
SALIENCY = "saliency"


def write_slice_maps(study: TrainedStudy, found: Explained) -> None:
    """Write the first method's map of every volume, for the first question, and saliency if stored."""
    method = found.asked.methods[0]
    folder = study.folder / MAPS
    shutil.rmtree(folder, ignore_errors=True)  # an earlier run's may be of other people
    maps = mean_maps(found, method.name)
    salient = found_saliency(study, found)
    starts = _starts(study)
    with counting("maps", len(study.cohort.entries)) as one:
        for entry, record, bag, start in zip(
            study.cohort.entries, study.cohort.records, study.cohort.bag.tolist(), starts, strict=True
        ):
            if bag in maps:
                values = maps[bag][0][start : start + entry.n_slices]
                write_map(folder / name_of(record, method.name), slice_map(values, record), record)
                if salient:
                    native = saliency_map(study.bundle, study.store, entry.key, beside=study.beside)
                    write_map(folder / name_of(record, SALIENCY), native, record)
            one()
    judged = found.judgements[method.name]
    says = {
        "Description": f"{method.words}: one value per slice; 0 off the kept slices and off the canvas",
        "EvidenceOf": found.questions[0].name,
        "OutOfFold": True,
        "Verdict": judged.words,
        "Reason": judged.reason,
    }
    write_json(folder / f"desc-{_label(method.name)}_{SUFFIX}.json", says)


def slice_map(values: Floats, record: VolumeRecord) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    """One value per kept slice (slice,) in native voxels (i, j, k), on the canvas."""
    return native_map(values.astype(np.float32)[:, None, None], placement(record, (1, 1)))


def name_of(record: VolumeRecord, what: str) -> str:
    """Path below the folder, as anomaly maps are called."""
    return map_name(record, what).replace("_anomalymap.nii.gz", f"_{SUFFIX}.nii.gz")


def found_saliency(study: TrainedStudy, found: Explained) -> bool:
    """Whether there is attention within slices and over them."""
    stored = {array.name for array in study.store.header.arrays}
    named = {method.kind for method in found.asked.methods}
    return ATTENTION in stored and "attention" in named and study.bundle.card.combine != "concat"


def _label(name: str) -> str:
    return "".join(sign for sign in name if sign.isalnum())


def _starts(study: TrainedStudy) -> list[int]:
    """The slice of its bag at which each volume begins."""
    ended: dict[int, int] = {}
    starts = []
    for bag, entry in zip(study.cohort.bag.tolist(), study.cohort.entries, strict=True):
        starts.append(ended.get(bag, 0))
        ended[bag] = starts[-1] + entry.n_slices
    return starts
