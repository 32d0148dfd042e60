"""Anomaly maps as files: names as in BIDS derivatives, one NIfTI per volume and detector.

`sub-01/ses-02/anat/sub-01_ses-02_acq-x_mod-T1w_desc-memorybank_anomalymap.nii.gz`: the volume's own
entities, `mod` for its contrast (two contrasts of one session would share a name), `desc` for the detector.
BIDS has no suffix for anomaly maps, so a validator wants `anomalymap` ignored; everything else is its own.
"""

import json
import re
from collections.abc import Mapping
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregate.anomaly.maps.nifti import GeometryFrom, source_image, write_map
from aggregate.anomaly.maps.placement import Between, native_map, placement
from aggregate.common.artefacts import write_json
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import VolumeDraft, VolumeRecord

DERIVATIVES_VERSION = "1.9.0"

BEFORE_MOD = (
    "sample", "task", "tracksys", "acq", "nuc", "voi", "ce", "trc", "stain", "rec", "dir", "run",
)  # fmt: skip
"""Entities that BIDS puts before `mod`, in its order."""

AFTER_MOD = (
    "echo", "flip", "inv", "mt", "part", "proc", "hemi", "space", "split", "recording", "chunk", "seg", "res",
    "den", "label",
)  # fmt: skip
"""Entities between `mod` and `desc`."""

SUFFIX = "anomalymap"

LONGEST_LABEL = 64
"""A file's name has 255 bytes, for all of its labels."""

PAIR = re.compile(r"([a-z]+)-([0-9A-Za-z]+)")


def label(text: str) -> str:
    """A text as a BIDS label: letters and digits only.

    What loses a character gets six digits of its own hash, so that two ids never become one.
    """
    plain = re.sub(r"[^0-9A-Za-z]", "", text)[:LONGEST_LABEL]
    return plain if plain == text else plain + sha256(text.encode()).hexdigest()[:6]


def volume_entities(volume_id: str) -> dict[str, str]:
    """The entities of a `volume_id`, its contrast under `mod`; one that is not BIDS is all `mod`."""
    *pairs, suffix = volume_id.split("_")
    found = [PAIR.fullmatch(pair) for pair in pairs]
    known = {*BEFORE_MOD, *AFTER_MOD, "desc"}
    if suffix.isalnum() and all(match and match[1] in known for match in found):
        own = {match[1]: match[2] for match in found if match}
        # The map's desc names its detector, so what the image's own desc says goes before it.
        suffix += own.pop("desc", "")
        return own | {"mod": suffix}
    return {"mod": label(volume_id)}


def map_name(
    record: VolumeDraft | VolumeKey, detector: str, suffix: str = SUFFIX, ending: str = ".nii.gz"
) -> str:
    """Path of a map, or of what else belongs to a volume, below its derivatives folder, with `/`."""
    participant = "sub-" + label(record.participant_id.removeprefix("sub-"))
    session = "ses-" + label(record.session_id.removeprefix("ses-")) if record.session_id else ""
    own = volume_entities(record.volume_id)
    ordered = [f"{name}-{own[name]}" for name in (*BEFORE_MOD, "mod", *AFTER_MOD) if name in own]
    parts = [participant, *([session] if session else []), *ordered, f"desc-{label_of_detector(detector)}"]
    folder = "/".join([participant, *([session] if session else []), "anat"])
    return f"{folder}/{'_'.join(parts)}_{suffix}{ending}"


def label_of_detector(name: str) -> str:
    """`memory_bank` as `memorybank`; further signs are hashed as in `label`."""
    return label(name.replace("_", ""))


def describe_maps(folder: Path, detectors: Mapping[str, Mapping[str, Any]]) -> None:
    """Write `dataset_description.json` and one sidecar per detector, which holds for all its maps.

    Args:
        folder: The derivatives folder.
        detectors: By detector name: what its sidecar says besides, e.g. fingerprint and spec.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        made_by = {"Name": "slicecache detect", "Version": version("slicecache")}
    except PackageNotFoundError:
        made_by = {"Name": "slicecache detect"}
    description = {
        "Name": "Anomaly maps",
        "BIDSVersion": DERIVATIVES_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [made_by],
    }
    write_json(folder / "dataset_description.json", description)
    for name, more in detectors.items():
        said = {
            "Description": "Anomaly score of every voxel, higher = more anomalous; 0 off the kept slices "
            "and off the canvas",
            "Detector": name,
            "Units": "arbitrary",
        }
        own = json.loads(json.dumps({**said, **more}))
        write_json(folder / f"desc-{label_of_detector(name)}_{SUFFIX}.json", own)


def write_volume_map(
    folder: Path,
    record: VolumeRecord,
    detector: str,
    scores: NDArray[np.float32],
    *,
    root: Path | None = None,
    smooth_pixels: float = 0.0,
    between: Between = "zero",
) -> tuple[Path, GeometryFrom]:
    """Bring one volume's score map to its native voxels and write it.

    Args:
        folder: The derivatives folder.
        record: Of the volume.
        detector: Its name, e.g. `memory_bank`.
        scores: `(slice, row, col)` over the kept slices.
        root: Stage one's input root, for the image's own header (see `aggregate.maps.nifti`).
        smooth_pixels: See `placement`; 4 for `memory_bank`.
        between: What native slices between kept ones get.

    Returns:
        The file, and where its geometry comes from.
    """
    place = placement(record, (scores.shape[1], scores.shape[2]), smooth_pixels)
    path = folder / map_name(record, detector)
    return path, write_map(path, native_map(scores, place, between), record, source_image(record, root))
