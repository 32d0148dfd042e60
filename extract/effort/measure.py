"""How fast this machine embeds and decodes, seen on one volume of a plan in about a second each.

Slices of a volume in the middle of the plan go through the very steps of an extraction. Where the weights are
not here, or large, some blocks of a network of their sizes stand in for them: how fast a product is does not
depend on the numbers.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from math import prod
from pathlib import Path

import torch

from cache_schema.common.errors import MachineError, VolumeError
from extract.backbones.backbone import Backbone
from extract.backbones.shape import Outline, Shape
from extract.backbones.transformer import DinoNetwork
from extract.cluster.estimate import UNKNOWN, blocks, parameters
from extract.effort.rate import Rate
from extract.engines.device import DTYPES, choose_device, choose_dtype, device_name, this_machine
from extract.engines.embed import CPU_BLOCK, Embedder
from extract.planning.config import ExtractSection
from extract.planning.plan import PlannedVolume
from extract.slices.prepare import PreparedVolume, prepare_volume
from extract.slices.preprocessing import Preprocessing
from extract.slices.sides import sides

SECONDS = 1.0
TRIED = 3
"""Volumes, before no rate is measured."""
STAND_IN_BLOCKS = 2
LARGEST = 4e8
"""Parameters up to which a backbone itself is timed."""
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def measured_rate(section: ExtractSection, base: Path, volumes: Sequence[PlannedVolume]) -> Rate:
    """Time an extraction of the middle volume.

    Args:
        section: Of one store.
        base: Folder that relative paths start from.
        volumes: That are to be embedded.

    Raises:
        ConfigError: If the backbone cannot be built.
        MachineError: If no volume of those tried could be read.
    """
    machine = this_machine()
    device = choose_device(section.device, machine)
    dtype = choose_dtype(section.dtype, device, machine, None)
    backbone, share, called = _network(section, base, device, DTYPES[dtype])
    steps = section.preprocessing.for_backbone(backbone.normalised or IMAGENET)
    planned, prepared, seconds = _prepared(steps, volumes)
    names = frozenset({"cls", "patch_mean"})
    embedder = Embedder(backbone, device, names, section.batch_size, steps.mean, steps.std)
    speed = _slices_per_second(embedder, prepared, CPU_BLOCK if device.type == "cpu" else section.batch_size)
    return Rate(
        slices_per_s=speed * share,
        decode_s=seconds / prod(planned.shape or (1,)),
        gpu=device.type != "cpu",
        said=f"measured in {SECONDS:g} s on {device_name(device)} in {dtype}{called}",
        kept=len(prepared.images) / max(1, planned.max_slices),
        measured=True,
    )


def _network(
    section: ExtractSection, base: Path, device: torch.device, dtype: torch.dtype
) -> tuple[Backbone, float, str]:
    """What is timed, the share of the whole that it is, and what to say of it."""
    spec = section.backbone.located(base)
    sizes = spec.outline(section.preprocessing.pixels)
    if spec.missing() is None and (sizes is None or parameters(sizes) <= LARGEST):
        return section.build_backbone(base, device, dtype), 1.0, ""
    made = _stand_in(sizes or UNKNOWN, section, device, dtype)
    return made, STAND_IN_BLOCKS / blocks(sizes or UNKNOWN), f", {STAND_IN_BLOCKS} blocks in place of all"


def _stand_in(sizes: Outline, section: ExtractSection, device: torch.device, dtype: torch.dtype) -> Backbone:
    """Some blocks of a network of these sizes, of zeros."""
    heads = sizes.heads or max(1, sizes.dim // 64)
    rows, _ = sides(section.preprocessing.pixels)
    patch = max(1, rows // sizes.grid[0])
    shape = Shape(STAND_IN_BLOCKS, sizes.dim, heads, 4 * sizes.dim, patch, table_side=max(sizes.grid))
    zeros = {name: torch.zeros(size) for name, size in shape.parameters().items()}
    network = DinoNetwork("untrained", shape, zeros, "a stand-in")
    return network.place(section.preprocessing.pixels, device, dtype, (), False, ())


def _prepared(
    steps: Preprocessing, volumes: Sequence[PlannedVolume]
) -> tuple[PlannedVolume, PreparedVolume, float]:
    """A volume of the middle, ready to be embedded, and the seconds of a core that it took."""
    ordered = sorted(volumes, key=lambda volume: (prod(volume.shape or ()), volume.candidate.key))
    said = "no volume is to be embedded"
    for planned in ordered[len(ordered) // 2 :][:TRIED]:
        start = time.perf_counter()
        try:
            prepared = prepare_volume(planned.candidate, steps)
        except VolumeError as error:
            said = str(error)
            continue
        if len(prepared.images):
            return planned, prepared, time.perf_counter() - start
    raise MachineError(f"no rate was measured: {said}")


def _slices_per_second(embedder: Embedder, prepared: PreparedVolume, batch: int) -> float:
    """After one batch to get warm."""
    places = [place % len(prepared.images) for place in range(batch)]
    some = _only(prepared, places)
    for _ in (*embedder.add(some), *embedder.flush()):
        pass
    start, done = time.perf_counter(), 0
    while (taken := time.perf_counter() - start) < SECONDS:
        for _ in (*embedder.add(some), *embedder.flush()):
            done += batch
    return done / taken


def _only(prepared: PreparedVolume, places: list[int]) -> PreparedVolume:
    """Some of a volume's slices."""
    slices = prepared.draft.slices
    names = ("index", "height_mm", "world_z_mm")
    chosen = slices.model_copy(
        update={name: tuple(getattr(slices, name)[place] for place in places) for name in names}
    )
    draft = prepared.draft.model_copy(update={"slices": chosen})
    return replace(prepared, draft=draft, images=prepared.images[places], mask=prepared.mask[places])
