"""The product of two matrices, by whichever way training was told; `training/probe.py` measures which.

Only float32 has a choice. What is measured and what was thrown away stands in `benchmarks/README.md`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from cache_schema.common.errors import SlicecacheError

Product = Literal["torch", "onednn", "bfloat16"]
"""`torch`: what torch multiplies float32 by (on x86 MKL); `onednn`: oneDNN's float32; `bfloat16`: factors
and result rounded to bfloat16, sums in float32."""
PRODUCTS: tuple[Product, ...] = get_args(Product)

TOLERANCE: dict[Product, float] = {"torch": 2e-6, "onednn": 2e-6, "bfloat16": 6e-3}
"""Of a product, beside float64: the Frobenius norm of its error over that of the result."""
EXACT: tuple[Product, ...] = ("torch", "onednn")
"""As good as float32: the ones that `auto` takes one of."""


class Shape(NamedTuple):
    """Of a product."""

    rows: int
    inner: int
    columns: int

    @property
    def work(self) -> int:
        """Multiplications."""
        return self.rows * self.inner * self.columns


_taken: ContextVar[Product] = ContextVar("taken", default="torch")
_shapes: ContextVar[list[Shape] | None] = ContextVar("shapes", default=None)


def multiply(a: Float[Tensor, "row inner"], b: Float[Tensor, "inner column"]) -> Float[Tensor, "row column"]:
    """`a b`, by what `multiplied_by` says around it."""
    noted = _shapes.get()
    if noted is not None:
        noted.append(Shape(a.shape[0], a.shape[1], b.shape[1]))
    return torch.mm(a, b) if a.dtype != torch.float32 else WAYS[_taken.get()](a, b)


@contextmanager
def multiplied_by(product: Product) -> Iterator[None]:
    """Take this product meanwhile, in this thread.

    Raises:
        SlicecacheError: If this machine's torch does not have it.
    """
    require_available(product)
    before = _taken.set(product)
    try:
        yield
    finally:
        _taken.reset(before)


@contextmanager
def shapes_noted() -> Iterator[list[Shape]]:
    """Note the shape of every product meanwhile."""
    noted: list[Shape] = []
    before = _shapes.set(noted)
    try:
        yield noted
    finally:
        _shapes.reset(before)


def require_available(product: Product) -> None:
    """Refuse a product that torch does not have here.

    Raises:
        SlicecacheError: With what to do.
    """
    if product not in available():
        raise SlicecacheError(
            f"train.products is {product!r}, which torch {torch.__version__} does not have on this machine; "
            "go on where the run began, or train anew in another run folder with products: torch"
        )


def available() -> tuple[Product, ...]:
    """What torch has here."""
    onednn = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return PRODUCTS if onednn else ("torch", "bfloat16")


def _onednn(a: Tensor, b: Tensor) -> Tensor:
    """As a linear layer whose weights are b transposed: torch has no other door to it in float32."""
    found: Tensor = torch.ops.mkldnn._linear_pointwise(a, b.T, None, "none", [], "")
    return found


def _bfloat16(a: Tensor, b: Tensor) -> Tensor:
    return torch.mm(a.bfloat16(), b.bfloat16()).float()


WAYS: dict[Product, Callable[[Tensor, Tensor], Tensor]] = {
    "torch": torch.mm,
    "onednn": _onednn,
    "bfloat16": _bfloat16,
}
