"""Which product of two matrices is fastest here, on the shapes that training will multiply.

Only those as good as float32 are chosen from. What else there is gets measured too, so that whoever reads
the result knows what asking for it would give.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pydantic import Field

from aggregate.heads.base import HeadBase
from aggregate.heads.multiply import (
    EXACT,
    PRODUCTS,
    Product,
    Shape,
    available,
    multiplied_by,
    multiply,
    shapes_noted,
)
from aggregate.training.feeding.streams import streams_of
from aggregate.training.runs import RunSpec
from aggregate.training.workers import single_threaded
from cache_schema.common.strict import Strict

REPEATS = 5
SMALLEST = 1e7
"""Multiplications of a step below which there is nothing to win: a fifth of a millisecond."""
LARGEST = 2e8
"""Multiplications of one product that is timed; larger ones are cut: about ten milliseconds."""
GAIN = 1.03
"""Less than that is noise, and then torch's own stays."""
HOPELESS = 2.0
"""What takes so many times torch's own is not measured on."""
SLICES = 3
"""Of the bag that a head is asked on which products it takes."""


class Probe(Strict):
    """What was measured, and what is taken."""

    taken: Product
    gflops: dict[Product, float] = Field(default_factory=dict)
    """Of one core; empty where slices are multiplied by nothing, or by too little to be worth it."""

    def sentence(self) -> str:
        """For the log."""
        if not self.gflops:
            return f"products: {self.taken} (too little is multiplied to choose)"
        found = ", ".join(f"{name} {value:.0f}" for name, value in self.gflops.items())
        return f"products: {self.taken} (GFLOP/s of a core: {found})"


def probe(shapes: Sequence[Shape]) -> Probe:
    """Time all products in turn, and take the fastest of those as good as float32.

    The processor's time is counted, which other work on the machine changes least.
    """
    if sum(shape.work for shape in shapes) < SMALLEST:
        return Probe(taken="torch")
    here, own = [product for product in PRODUCTS if product in available()], [_cut(shape) for shape in shapes]
    seconds = dict.fromkeys(here, 0.0)
    with single_threaded():
        for shape in own:
            for product, taken in _timed(shape, here).items():
                seconds[product] += taken
    best = min((product for product in here if product in EXACT), key=lambda product: seconds[product])
    if seconds["torch"] < GAIN * seconds[best]:
        best = "torch"
    work = sum(2 * shape.work for shape in own) / 1e9
    return Probe(taken=best, gflops={p: round(work / taken, 1) for p, taken in seconds.items()})


def _timed(shape: Shape, products: Sequence[Product]) -> dict[Product, float]:
    """Best seconds of one product by each way, the first of each to warm up."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(shape.rows, shape.inner, generator=generator)
    b = torch.randn(shape.columns, shape.inner, generator=generator).T
    best: dict[Product, float] = {}
    for turn in range(1 + REPEATS):
        for product in products:
            if turn > 1 and best[product] > HOPELESS * best["torch"]:
                continue
            with multiplied_by(product):
                start = time.thread_time()
                multiply(a, b)
                taken = time.thread_time() - start
            best[product] = taken if turn <= 1 else min(best[product], taken)
    return best


def _cut(shape: Shape) -> Shape:
    """As it is, or with fewer rows and then fewer of the longest other numbers."""
    rows = max(min(64, shape.rows), min(shape.rows, int(LARGEST / (shape.inner * shape.columns))))
    least = max(1, int(LARGEST / (rows * min(shape.inner, shape.columns))))
    longest = max(shape.inner, shape.columns)
    inner, columns = (
        min(number, least) if number == longest else number for number in (shape.inner, shape.columns)
    )
    return Shape(rows, inner, columns)


@dataclass(frozen=True, slots=True)
class Work:
    """Runs of one head that will train together, on bags of so many slices and numbers."""

    head: HeadBase
    runs: Sequence[RunSpec]
    slices: int
    dim: int


def shapes_of(works: Sequence[Work]) -> list[Shape]:
    """Products of the step that multiplies most, as the widest stream of its runs takes them."""
    found = [_step(work) for work in works]
    return max(found, key=lambda shapes: sum(shape.work for shape in shapes), default=[])


def _step(work: Work) -> list[Shape]:
    """Of one head."""
    widest = max(streams_of(work.runs), key=lambda stream: stream.runs.stop - stream.runs.start)
    together, first = widest.runs.stop - widest.runs.start, widest.first
    instances = work.slices * min(first.training.batch_size, len(first.train_rows))
    scaled = []
    for shape in _asked(work.head, work.dim):
        rows = shape.rows * together
        forward = shape.inner == work.dim
        scaled.append(Shape(rows, work.dim, instances) if forward else Shape(rows, instances, work.dim))
    return scaled


def _asked(spec: HeadBase, dim: int) -> list[Shape]:
    """What one run of a head multiplies on one bag."""
    if spec.kind == "custom" or not spec.pool_learns:
        return []
    head = spec.build(dim, 2)
    trained = {name: value.requires_grad_(name in head.trainable) for name, value in head.init([0]).items()}
    keep = torch.ones((1, SLICES), dtype=torch.bool)
    x, height_mm = torch.ones((1, SLICES, dim)), torch.zeros((1, SLICES))
    with shapes_noted() as noted, single_threaded():
        pooled, _ = head.pool(trained, head.prepare(x, keep, height_mm), keep, height_mm)
        leaves = [trained[name] for name in head.pool_shapes() if name in head.trainable]
        if pooled.requires_grad:
            torch.autograd.grad(pooled.sum(), leaves, allow_unused=True)
    return [shape for shape in noted if dim in (shape.inner, shape.columns)]
