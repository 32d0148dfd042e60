"""`auto`: what is tried on this device, and when trying is not worth it."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from cache_schema.common.errors import ConfigError
from extract.arithmetic.arithmetic import REFERENCE, Arithmetic, candidates
from extract.arithmetic.measure import choose
from extract.arithmetic.remembered import key_of, recall, remember
from extract.arithmetic.trial import trial_slices
from extract.backbones.backbone import Backbone
from extract.slices.sides import Canvas

FEW_VOLUMES = 100
"""Below so many, float32 costs little, and bfloat16 moved what small studies find (benchmarks/README.md)."""
LITTLE_SECONDS = 8.0
"""Of work on a CPU, in float32 by torch: below that, trying takes longer than it saves."""


def beside_few(compute: str, taken: Arithmetic, volumes: int) -> str:
    """What to say where `auto` took bfloat16 for a small cohort; else nothing.

    Args:
        compute: Asked for.
        taken: What is taken.
        volumes: Of the cohort.
    """
    if compute != "auto" or taken.compute != "bfloat16" or volumes >= FEW_VOLUMES:
        return ""
    return (
        f"extract.dtype: float32 costs little for fewer than {FEW_VOLUMES} volumes and gives the reference "
        "arithmetic"
    )


def decided(
    engine: str,
    compute: str,
    device: torch.device,
    slow: bool,
    *,
    place: Callable[[Arithmetic], Backbone],
    canvas: Canvas,
    rows: int,
    slices: int,
    tokens: Sequence[str] = (),
) -> tuple[Arithmetic, dict[str, Any], list[str]]:
    """Settle what is open.

    Args:
        engine: Asked for.
        compute: Likewise; one of the two is `auto`.
        device: That embeds.
        slow: Whether it would imitate bfloat16.
        place: Gives a backbone of an arithmetic.
        canvas: Pixels along a side, or rows and columns.
        rows: Slices of a pass.
        slices: That are to be embedded, at most.
        tokens: That are wanted of the backbone.

    Returns:
        What is taken, the table for provenance, and what to say of it.

    Raises:
        ConfigError: If nothing that was asked for is here.
    """
    options = candidates(engine, compute, device, slow)
    if not options:
        raise ConfigError(
            f"extract.engine {engine!r} with extract.dtype {compute!r} does not run on "
            f"{device.type} here: say auto, or pip install 'slicecache[openvino]'"
        )
    if len(options) == 1:
        return options[0], {"why": "nothing else runs here"}, []
    little = LITTLE_SECONDS if device.type == "cpu" else 0.0
    key = key_of(options, place(REFERENCE).identity, device, canvas, rows, tokens)
    choice = recall(key, options, slices, little)
    if choice is None:
        choice = choose(options, place, trial_slices(canvas, rows).to(device), slices, little)
        remember(key, choice)
    return choice.taken, choice.as_json(), [choice.said()] if choice.trials else []
