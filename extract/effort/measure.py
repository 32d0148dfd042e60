"""How fast this machine embeds and decodes, seen on one volume of a plan in about a second each.

Slices of a volume in the middle of the plan go through the very steps of an extraction. Where the weights are
not here, or large, some blocks of a network of their sizes stand in for them: how fast a product is does not
depend on the numbers.
"""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import Path

import torch

from cache_schema.common.errors import MachineError, VolumeError
from extract.arithmetic.arithmetic import Arithmetic, place_by, settled
from extract.arithmetic.auto import beside_few, decided
from extract.backbones.backbone import Backbone, passes_at_once
from extract.backbones.shape import Outline, Shape
from extract.backbones.transformer import DinoNetwork
from extract.backbones.weights import draw_weights
from extract.cluster.estimate import UNKNOWN, blocks, parameters
from extract.effort.rate import Rate
from extract.engines.device import Machine, choose_device, device_name, imitates_bfloat16, this_machine
from extract.engines.embed import CPU_BLOCK, Embedder
from extract.planning.config import ExtractSection
from extract.planning.plan import PlannedVolume
from extract.slices.prepare import PreparedVolume, prepare_volume
from extract.slices.preprocessing import Preprocessing
from extract.slices.sides import sides

InTorch = Callable[[torch.dtype], Backbone]
"""Places the network in torch, its weights in a dtype."""

SECONDS = 1.0
COMMIT_SECONDS = 0.03
"""Of a volume: its picture, digests, record and chunks, on a disk of this machine."""
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
    device = choose_device(section.asked_device, machine)
    place, share, called = _network(section, base, device)
    slices = sum(volume.max_slices for volume in volumes)
    backbone, arithmetic, trial = _by_what_auto_takes(section, place, device, machine, slices)
    steps = section.preprocessing.for_backbone(backbone.normalised or IMAGENET)
    planned, prepared, seconds = _prepared(steps, volumes)
    distinct = len(prepared.images) if prepared.firsts is None else len(set(prepared.firsts.tolist()))
    names = frozenset({"cls", "patch_mean"})
    embedder = Embedder(backbone, device, names, section.batch_size, steps.mean, steps.std)
    batch = CPU_BLOCK if device.type == "cpu" else section.batch_size
    few = beside_few(section.dtype, arithmetic, len(volumes))
    speed = _slices_per_second(embedder, prepared, batch * passes_at_once(backbone))
    return Rate(
        slices_per_s=speed * share * len(prepared.images) / distinct,
        decode_s=seconds / prod(planned.shape or (1,)),
        gpu=device.type != "cpu",
        said=f"measured in {SECONDS:g} s on {device_name(device)} by {arithmetic}{called}"
        + (few and f"; {few}"),
        kept=len(prepared.images) / max(1, planned.max_slices),
        measured=True,
        volume_s=COMMIT_SECONDS,
        trial_s=trial,
    )


def _by_what_auto_takes(
    section: ExtractSection, place: InTorch, device: torch.device, machine: Machine, slices: int
) -> tuple[Backbone, Arithmetic, float]:
    """What an extraction to a new store would embed with, and the seconds of choosing it."""

    def by(arithmetic: Arithmetic) -> Backbone:
        return place_by(arithmetic, place, section.preprocessing.pixels, CPU_BLOCK)

    arithmetic = settled(section.engine, section.dtype)
    if arithmetic is None:
        kept = functools.cache(by)
        options = (section.engine, section.dtype, device, imitates_bfloat16(device, machine))
        arithmetic, seen, _ = decided(
            *options,
            place=kept,
            canvas=section.preprocessing.pixels,
            rows=CPU_BLOCK if device.type == "cpu" else section.batch_size,
            slices=slices,
            tokens=section.tokens,
        )
        return kept(arithmetic), arithmetic, float(seen.get("seconds", 0.0))
    return by(arithmetic), arithmetic, 0.0


def _network(section: ExtractSection, base: Path, device: torch.device) -> tuple[InTorch, float, str]:
    """What is timed, the share of the whole that it is, and what to say of it."""
    spec = section.backbone.located(base)
    sizes = spec.outline(section.preprocessing.pixels)
    if spec.missing() is None and (sizes is None or parameters(sizes) <= LARGEST):
        return partial(section.build_backbone, base, device), 1.0, ""
    made = partial(_stand_in, sizes or UNKNOWN, section, device)
    return made, STAND_IN_BLOCKS / blocks(sizes or UNKNOWN), f", {STAND_IN_BLOCKS} blocks in place of all"


def _stand_in(sizes: Outline, section: ExtractSection, device: torch.device, dtype: torch.dtype) -> Backbone:
    """Some blocks of a network of these sizes, of drawn weights."""
    heads = sizes.heads or max(1, sizes.dim // 64)
    rows, _ = sides(section.preprocessing.pixels)
    patch = max(1, rows // sizes.grid[0])
    shape = Shape(STAND_IN_BLOCKS, sizes.dim, heads, 4 * sizes.dim, patch, table_side=max(sizes.grid))
    network = DinoNetwork("untrained", shape, draw_weights(shape.parameters(), 0), "a stand-in")
    return network.place(section.preprocessing.pixels, device, dtype, (), False, ())


def _prepared(
    steps: Preprocessing, volumes: Sequence[PlannedVolume]
) -> tuple[PlannedVolume, PreparedVolume, float]:
    """A volume of the middle, ready to be embedded, and the seconds of a core that it took."""
    ordered = sorted(volumes, key=lambda volume: (prod(volume.shape or ()), volume.candidate.key))
    said = "no volume is to be embedded"
    for planned in ordered[len(ordered) // 2 :][:TRIED]:
        try:
            prepare_volume(planned.candidate, steps)  # the first one finds everything cold
            start = time.perf_counter()
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
    return replace(
        prepared, draft=draft, images=prepared.images[places], mask=prepared.mask[places], firsts=None
    )
