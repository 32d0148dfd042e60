"""`detect: {component_maps: true}`: components and log densities of volumes as NIfTI, where there are any."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from aggregate.anomaly.findings.inside import Inside, insides
from aggregate.anomaly.maps.components import (
    COMPONENTS,
    LIKELIHOOD,
    describe_components,
    write_components,
    write_likelihood,
)
from aggregate.anomaly.maps.maps import label_of_detector, map_name
from aggregate.anomaly.reference.group import StudyVolume
from aggregate.anomaly.scoring.execute import FinishedStore
from aggregate.anomaly.study.map_files import write_once
from aggregate.common.checksum import checksum
from cache_schema.common.terminal.progress import counting
from cache_schema.format.record import VolumeRecord


def write_component_maps(
    folder: Path, finished: FinishedStore, members: Sequence[StudyVolume], root: Path | None
) -> None:
    """Write both maps of each volume, by each detector's first seed that has components.

    Args:
        folder: That of the anomaly maps.
        finished: The store's detectors.
        members: Volumes of it.
        root: Of the images, for their own headers.
    """
    described: set[str] = set()
    with counting("component maps", len(members)) as count:
        for member in members:
            for name, inside in insides(finished, member, likelihood=True).items():
                if name not in described:
                    describe_components(folder, name, label_of_detector(name))
                    described.add(name)
                write_both(folder, member.record, name, inside, root)
            count()


def write_both(folder: Path, record: VolumeRecord, name: str, inside: Inside, root: Path | None) -> None:
    """A volume's files by one detector, unless they are there with the same numbers."""
    geometry = record.geometry.model_dump(mode="json")
    made_of = [checksum({"parts": inside.parts}), geometry]
    write = partial(write_components, components=inside.parts, record=record, root=root)
    write_once(folder, map_name(record, name, COMPONENTS), made_of, write)
    if inside.likelihood is not None:
        made_of = [checksum({"likelihood": inside.likelihood}), geometry]
        write = partial(write_likelihood, values=inside.likelihood, record=record, root=root)
        write_once(folder, map_name(record, name, LIKELIHOOD), made_of, write)
