"""NIfTI maps of volumes: written once, and again only when their numbers change."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aggregate.anomaly.maps.maps import describe_maps, map_name, write_volume_map
from aggregate.anomaly.maps.placement import Between
from aggregate.anomaly.scoring.fitted import Fitted
from aggregate.anomaly.scoring.volumes import VolumeScores
from aggregate.common.artefacts import write_text
from aggregate.common.checksum import checksum
from cache_schema.format.canonical import sha256_json
from cache_schema.format.record import VolumeRecord

MARKS = ".written"
"""Folder of one small file per map that says which numbers it was made of."""


def write_map_once(
    folder: Path,
    record: VolumeRecord,
    fitted: Fitted,
    scores: VolumeScores,
    root: Path | None,
    between: Between,
) -> Path:
    """Write a volume's map unless it is there with the same numbers.

    Args:
        folder: The derivatives folder.
        record: Of the volume.
        fitted: The detector.
        scores: As they are reported.
        root: Of the images, for their own headers.
        between: What native slices between kept ones get.
    """
    numbers = checksum({"tokens": scores.tokens})
    made_of = [numbers, fitted.smooth_pixels, between, record.geometry.model_dump(mode="json")]

    def write(path: Path) -> None:
        write_volume_map(
            folder,
            record,
            fitted.name,
            scores.tokens,
            root=root,
            smooth_pixels=fitted.smooth_pixels,
            between=between,
        )

    return write_once(folder, map_name(record, fitted.name), made_of, write)


def write_once(folder: Path, name: str, made_of: Sequence[Any], write: Callable[[Path], None]) -> Path:
    """Write a file unless it is there and was made of the same.

    Args:
        folder: The derivatives folder.
        name: Path below it, with `/`.
        made_of: What its content follows from, as JSON.
        write: Writes it.
    """
    path, said = folder / name, sha256_json(made_of)
    mark = folder / MARKS / (name.replace("/", "__") + ".txt")
    if path.is_file() and mark.is_file() and mark.read_text(encoding="utf-8") == said:
        return path
    mark.unlink(missing_ok=True)
    write(path)
    mark.parent.mkdir(parents=True, exist_ok=True)
    write_text(mark, said)
    return path


def describe_fits(folder: Path, fitted: list[Fitted], fingerprint: str, between: Between) -> None:
    """Write the dataset's description and one sidecar per detector."""
    describe_maps(folder, {one.name: sidecar(one, fingerprint, between) for one in fitted})


def sidecar(fitted: Fitted, fingerprint: str, between: Between) -> dict[str, Any]:
    """What a map's sidecar says of its detector."""
    return {
        "Seed": fitted.seed,
        "Spec": fitted.detector.spec.model_dump(mode="json", exclude={"store", "name", "views"}),
        "Fingerprint": fingerprint,
        "Thresholds": fitted.thresholds,
        "StandardisedByHeight": fitted.calibration.scale is not None,
        "SmoothedByPixels": fitted.smooth_pixels,
        "BetweenKeptSlices": between,
    }
