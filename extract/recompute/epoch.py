"""What an epoch costs without a store: volumes decoded and embedded as by extraction, and nothing kept."""

import time
from collections.abc import Collection
from dataclasses import dataclass

from cache_schema.common.errors import VolumeError
from cache_schema.common.pipeline_file import Pipeline
from cache_schema.common.terminal.progress import bar
from cache_schema.format.identity import VolumeKey
from cache_schema.store.reader import open_store
from extract.engines.decode import decode_ahead, wanted_by
from extract.engines.device import choose_device, choose_workers, this_machine
from extract.engines.embed import Embedder
from extract.planning.config import origin_of
from extract.planning.plan import PlannedVolume
from extract.recompute.making import backbone_of_header, find_again, preprocessing_of_header


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass of the backbone over some volumes."""

    volumes: int
    slices: int
    seconds: float
    """From the first file that is opened to the last slice; loading the backbone is not counted."""


def embed_once_more(store: str, keys: Collection[VolumeKey], pipeline: Pipeline) -> Epoch:
    """Embed volumes of a store as they were, decoding ahead in as many processes, and keep nothing.

    Args:
        store: Its location.
        keys: Volumes of it.
        pipeline: Says where images and backbone are.

    Raises:
        SlicecacheError: If images or backbone cannot be found.
        VolumeError: If a volume can no longer be read.
    """
    reader, machine = open_store(store), this_machine()
    header = reader.header
    origin = origin_of(header, store, pipeline)
    steps = preprocessing_of_header(header, origin.allow_unknown_orientation)
    device = choose_device("cpu" if header.numerics.engine != "torch" else "auto", machine)
    embedder = Embedder(
        backbone_of_header(header, header.numerics, origin.backbone, steps.pixels, device, origin.offline),
        device,
        frozenset({"cls"} & {array.name for array in header.arrays} or {"patch_mean"}),
        origin.batch_size,
        steps.mean,
        steps.std,
    )
    found = find_again(origin.input, origin.base, None)
    volumes = [PlannedVolume(found[key], None, None, 0, None) for key in sorted(keys)]
    workers = choose_workers(None, device, machine, len(volumes))
    begin = 1 if device.type == "cpu" else None
    start = time.perf_counter()
    with bar("an epoch with the backbone") as progress:
        for done, (planned, made) in enumerate(
            decode_ahead(wanted_by([volumes]), [steps], workers, begin), start=1
        ):
            if isinstance(made[0], str):
                raise VolumeError(f"{planned.candidate.key}: {made[0]}")
            list(embedder.add(made[0]))
            progress(done, len(volumes))
        list(embedder.flush())
    return Epoch(len(volumes), embedder.slices, time.perf_counter() - start)
