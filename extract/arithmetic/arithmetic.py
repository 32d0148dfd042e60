"""An engine and a compute dtype: what a store's numerics say of how its backbone multiplies."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from cache_schema.common.errors import ConfigError, MachineError
from cache_schema.format.header import OPEN, Numerics
from extract.arithmetic.processor import processor_kind
from extract.backbones.backbone import Backbone
from extract.backbones.compiled.placed import INSTALL, compile_backbone
from extract.backbones.compiled.runtime import installed
from extract.slices.sides import Canvas

EngineName = Literal["torch", "openvino"]
ComputeName = Literal["float32", "bfloat16"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """How a backbone multiplies."""

    engine: EngineName
    compute: ComputeName

    def __str__(self) -> str:
        return f"{self.engine} in {self.compute}"

    @property
    def placed_in(self) -> torch.dtype:
        """Dtype of the weights in torch: another engine compiles those in float32."""
        return DTYPES[self.compute] if self.engine == "torch" else torch.float32


REFERENCE = Arithmetic("torch", "float32")

PREFERRED = (
    REFERENCE,
    Arithmetic("openvino", "float32"),
    Arithmetic("torch", "bfloat16"),
    Arithmetic("openvino", "bfloat16"),
)
"""Of those that are about as fast the first is taken: the more exact one, then the one that needs less."""


def settled(engine: str, compute: str) -> Arithmetic | None:
    """What two words name, as they stand in a pipeline or in numerics; None while one of them is open.

    Raises:
        ConfigError: For a dtype that nothing here computes in.
    """
    if OPEN in (engine, compute):
        return None
    found = next((each for each in PREFERRED if (each.engine, each.compute) == (engine, compute)), None)
    if found is None:
        raise ConfigError(
            f"the compute dtype is {compute!r} by {engine!r}, and this program computes in "
            f"{' and '.join(DTYPES)} only"
        )
    return found


def arithmetic_of(numerics: Numerics) -> Arithmetic | None:
    """What a store's numerics name; None while they are open."""
    return settled(numerics.engine, numerics.compute_dtype)


def in_torch(engine: str, compute: str) -> Arithmetic:
    """That of two words where torch is named, and else what another engine starts from."""
    own = (each for each in PREFERRED if (each.engine, each.compute) == (engine, compute))
    return next((each for each in own if each.engine == "torch"), REFERENCE)


def candidates(engine: str, compute: str, device: torch.device, slow: bool) -> tuple[Arithmetic, ...]:
    """What `auto` chooses from on a device, in the order of preference.

    Args:
        engine: Asked for, `auto` for any.
        compute: Likewise.
        device: That embeds.
        slow: Whether it would imitate bfloat16: a GPU from before it had any.
    """
    return tuple(
        each
        for each in PREFERRED
        if engine in (OPEN, each.engine)
        and compute in (OPEN, each.compute)
        and (each.engine == "torch" or (device.type == "cpu" and installed()))
        and (each.compute == "float32" or not (slow or device.type == "mps"))
    )


def require_engine(arithmetic: Arithmetic, device: torch.device) -> None:
    """Refuse a machine that lacks the engine by which a store is embedded.

    Raises:
        MachineError: If it is not installed, or does not run on that device.
    """
    if arithmetic.engine == "torch":
        return
    if device.type != "cpu":
        raise MachineError(
            f"the store is embedded by {arithmetic.engine}, which runs on a CPU here and not on "
            f"{device.type}: say extract.device: cpu"
        )
    if not installed():
        raise MachineError(
            f"the store is embedded by {arithmetic.engine}, which is not installed here: {INSTALL}, or give "
            "this extraction a store of its own"
        )


def place_by(
    arithmetic: Arithmetic, place: Callable[[torch.dtype], Backbone], canvas: Canvas, rows: int
) -> Backbone:
    """A backbone that multiplies so.

    Args:
        arithmetic: How.
        place: Gives the network in torch, its weights in a dtype.
        canvas: Pixels along a side, or rows and columns.
        rows: Slices of every pass.

    Raises:
        ConfigError: If the engine is not installed.
        MachineError: If this machine has no such arithmetic.
    """
    placed = place(arithmetic.placed_in)
    if arithmetic.engine == "torch":
        return placed
    return compile_backbone(placed, canvas, rows, arithmetic.compute, processor_kind())
