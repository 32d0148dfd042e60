"""`check_backbone`: the laws that make a backbone's tokens fit for a store.

>>> from extract.backbones.untrained import UntrainedSpec
>>> check_backbone(UntrainedSpec())
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor

from cache_schema.common.law import hold
from extract.backbones.backbone import FLOAT16_LARGEST, Backbone, NamedBackbone, Network, Tokens
from extract.backbones.registry import BackboneSpec
from extract.slices.sides import Canvas, sides

CPU = torch.device("cpu")
PATCHES_ALONG = 4
"""Patches along a side of the canvas unless another canvas is asked for."""
CHECKED_SLICES = 5
TOLERANCE = 1e-4
"""Of the largest token: how far a slice alone may lie from itself in a batch, in float32. Products of
another shape round differently; a batch statistic moves tokens by far more."""


def check_backbone(backbone: Any, *, canvas: Canvas | None = None) -> None:
    """Hold a backbone to every law, on the CPU in float32.

    Args:
        backbone: A spec, a mapping as in a pipeline file, or the class or object itself.
        canvas: Pixels along a side, or rows and columns; four patches by default.

    Returns:
        None, which says that every law was kept.

    Raises:
        LawError: Naming the first law that it breaks, and what was found.
        ConfigError: If it is no backbone at all, or declares other sizes than it gives.

    Example:
        >>> sc.testing.check_backbone({"kind": "untrained", "size": "tiny"})
        >>> sc.testing.check_backbone(MyBackbone)
    """
    spec: NamedBackbone = TypeAdapter(BackboneSpec).validate_python(backbone)
    network = spec.load()
    side = PATCHES_ALONG * network.patch_size if canvas is None else canvas
    plain = network.place(side, CPU, torch.float32)
    placed = (
        network.place(side, CPU, torch.float32, attention=True) if "cls_attention" in plain.offers else plain
    )
    for law in BACKBONE_LAWS:
        law(placed, side)
    keeps_its_identity(spec, network, side)


def noise(slices: int, canvas: Canvas, seed: int = 0) -> Tensor:
    """Pixels `(slice, 3, height, width)` of a canvas as normalising leaves them: around 0, of deviation 1."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(slices, 3, *sides(canvas), generator=generator)


def arrays_of(tokens: Tokens) -> dict[str, Tensor]:
    """Every array of an answer."""
    found = {**tokens.cls, "patches": tokens.patches, **tokens.more}
    return found if tokens.attention is None else {**found, "cls_attention": tokens.attention}


def gives_the_declared_sizes(backbone: Backbone, canvas: Canvas) -> None:
    """Every array has the declared shape, in float32, for one slice and for several."""
    for count in (1, CHECKED_SLICES):
        wanted: dict[str, tuple[int, ...]] = {"patches": (count, *backbone.grid, backbone.dim)}
        wanted |= dict.fromkeys(backbone.offers & {"cls", "pooled"}, (count, backbone.dim))
        if "registers" in backbone.offers:
            wanted["registers"] = (count, backbone.registers, backbone.dim)
        if "cls_attention" in backbone.offers:
            wanted["cls_attention"] = (count, backbone.heads, *backbone.grid)
        found = arrays_of(backbone(noise(count, canvas)))
        for name, shape in wanted.items():
            got = tuple(found[name].shape) if name in found else None
            hold(got == shape, "sizes", f"{name} of {count} slices has the shape {got}, expected {shape}")
            kind = found[name].dtype
            hold(kind == torch.float32, "sizes", f"{name} is {kind}, expected float32")


def leaves_its_pixels(backbone: Backbone, canvas: Canvas) -> None:
    """The pixels that it is given stay as they are."""
    pixels = noise(CHECKED_SLICES, canvas)
    backbone(pixels)
    hold(torch.equal(pixels, noise(CHECKED_SLICES, canvas)), "pixels", "the call changed its own input")


def repeats_itself(backbone: Backbone, canvas: Canvas) -> None:
    """The same pixels twice give the same bits: no dropout, no masking, no memory of the call before."""
    pixels = noise(CHECKED_SLICES, canvas)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first = arrays_of(backbone(pixels.clone()))
        backbone(noise(CHECKED_SLICES, canvas, seed=1))
        second = arrays_of(backbone(pixels.clone()))
    for name, values in first.items():
        apart = float((values - second[name]).abs().max())
        same = torch.equal(values, second[name])
        hold(same, "repeat", f"the same pixels gave {name} that differ by {apart:.3g}")


def knows_no_neighbours(backbone: Backbone, canvas: Canvas) -> None:
    """A slice alone is what it is in a batch, beside blank slices too: tokens are a slice's own."""
    pixels = noise(CHECKED_SLICES, canvas)
    batch = torch.cat([pixels, torch.zeros_like(pixels)])
    together = arrays_of(backbone(batch))
    for index in range(CHECKED_SLICES):
        for name, alone in arrays_of(backbone(pixels[index : index + 1])).items():
            apart = float((together[name][index] - alone[0]).abs().max())
            limit = TOLERANCE * float(together[name].abs().max())
            said = f"{name} of a slice alone differs by {apart:.3g} from the same slice in a batch"
            hold(apart <= limit, "alone", f"{said} (at most {limit:.3g})")


def knows_its_places(backbone: Backbone, canvas: Canvas) -> None:
    """Patch token (r, c) answers most to a change of patch (r, c): rows are rows, nothing is flipped."""
    rows, cols = backbone.grid
    down_px, across_px = sides(canvas)
    height, width = down_px // rows, across_px // cols
    base = noise(CHECKED_SLICES, canvas)
    before = backbone(base.clone()).patches
    places = {(r, c) for r in (0, rows - 1) for c in (0, cols - 1)} | {(0, cols // 2), (rows // 2, 0)}
    for row, col in sorted(places):
        down, across = slice(row * height, (row + 1) * height), slice(col * width, (col + 1) * width)
        changed = base.clone()
        changed[..., down, across] = noise(CHECKED_SLICES, canvas, seed=2)[..., down, across]
        moved = (backbone(changed).patches - before).norm(dim=3).sum(dim=0)
        most = divmod(int(moved.argmax()), cols)
        said = f"a change of patch ({row}, {col}) moved token {most} most (row, col)"
        hold(most == (row, col) and float(moved.max()) > 0, "places", said)


def fits_float16(backbone: Backbone, canvas: Canvas) -> None:
    """Tokens of dark, bright and noisy slices are finite, fit float16, and keep the declared bound."""
    levels = torch.tensor([-3.0, 0.0, 3.0]).view(3, 1, 1, 1).expand(3, 3, *sides(canvas))
    bound = FLOAT16_LARGEST if backbone.largest_token is None else backbone.largest_token
    for name, values in arrays_of(backbone(torch.cat([levels, 3 * noise(2, canvas)]))).items():
        hold(bool(values.isfinite().all()), "storable", f"{name} holds values that are not finite")
        largest = float(values.abs().max())
        hold(largest <= min(bound, FLOAT16_LARGEST), "storable", f"{name} reaches {largest:.4g}")


def attends_in_shares(backbone: Backbone, canvas: Canvas) -> None:
    """CLS attention is a share: never negative, and a head's patches sum to no more than 1."""
    attention = backbone(noise(CHECKED_SLICES, canvas)).attention
    if attention is not None:
        hold(bool((attention >= 0).all()), "attention", f"it reaches {float(attention.min()):.3g}")
        most = float(attention.sum(dim=(2, 3)).max())
        hold(most <= 1 + 1e-3, "attention", f"a head's patches sum to {most:.4g}, more than 1")


BACKBONE_LAWS: tuple[Callable[[Backbone, Canvas], None], ...] = (
    gives_the_declared_sizes,
    leaves_its_pixels,
    repeats_itself,
    knows_no_neighbours,
    knows_its_places,
    fits_float16,
    attends_in_shares,
)


def keeps_its_identity(spec: NamedBackbone, network: Network, canvas: Canvas) -> None:
    """The weights' digest moves with one weight and with nothing else: not with a call or a second load."""
    placed = network.place(canvas, CPU, torch.float32)
    before = placed.identity
    placed(noise(1, canvas))
    hold(placed.identity == before, "identity", "a call changed it")
    again = spec.load().place(canvas, CPU, torch.float32).identity
    hold(again == before, "identity", "made twice it is another backbone: are its weights drawn anew?")
    for name in some_weights(network.weights):
        kept = network.weights[name].clone()
        with torch.no_grad():
            first = network.weights[name].view(-1)[:1]
            first.copy_(~first if first.dtype == torch.bool else first + 1)
            after = network.place(canvas, CPU, torch.float32).identity
            network.weights[name].copy_(kept)
        moved = after.weights_sha256 != before.weights_sha256
        hold(moved, "identity", f"a changed weight ({name}) left weights_sha256 as it was")
        rest = after.model_copy(update={"weights_sha256": before.weights_sha256})
        hold(rest == before, "identity", f"a changed weight ({name}) changed more than weights_sha256")


def some_weights(weights: Mapping[str, Tensor]) -> list[str]:
    """The first, the middle and the last parameter by name."""
    names = sorted(name for name, tensor in weights.items() if tensor.numel())
    return sorted({names[index] for index in (0, len(names) // 2, -1)}) if names else []
