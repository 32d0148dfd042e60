"""Five folds of DinoAtten3D's head on 300 bags of 50 x 384: stacked, beside a plain PyTorch loop.

Both train the same runs on the same batches for the same epochs, without early stop; the plain loop
takes one fold after another, vectorised over the batch, with `torch.optim.Adam`. The two alternate in
one process and the medians are compared.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aggregate.bags.bags import Bags
from aggregate.heads.spec import AttentionSpec
from aggregate.losses.spec import LossSpec
from aggregate.training.sampler import init_seed, order_stream, plain_batches
from aggregate.training.spec import TrainSpec
from aggregate.training.stacked import RunSpec, train_stacked

LOSSES = {
    "cross_entropy": LossSpec(),
    "dinoatten3d": LossSpec.model_validate({"supcon": 1.0, "class_variance": 0.1}),
}


class PlainHead(nn.Module):
    """The same head in ordinary PyTorch."""

    def __init__(self, dim: int, n_classes: int) -> None:
        super().__init__()
        self.project, self.score = nn.Linear(dim, 64), nn.Linear(64, 1, bias=False)
        self.embedding = nn.Sequential(nn.Linear(dim, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU())
        self.classifier = nn.Linear(128, n_classes)

    def forward(self, x: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        """(bag, slice, dim) -> logits, embedding."""
        scores = self.score(torch.tanh(self.project(x))).squeeze(-1)
        attention = scores.masked_fill(~keep, -torch.inf).softmax(-1)
        g = self.embedding((attention.unsqueeze(-1) * x).sum(1))
        return self.classifier(g), g


def plain_loss(spec: LossSpec, logits: Tensor, g: Tensor, y: Tensor) -> Tensor:
    """The weighted sum, vectorised over one batch."""
    loss = nn.functional.cross_entropy(logits, y)
    if not spec.contrastive:
        return loss
    u = nn.functional.normalize(g, dim=1)
    s = (u @ u.T / 0.07).fill_diagonal_(-torch.inf)
    same = (y[:, None] == y[None]).fill_diagonal_(False)
    share = (s - s.logsumexp(1, keepdim=True)).masked_fill(~same, 0)
    loss = loss - spec.supcon.weight * (share.sum(1) / same.sum(1).clamp_min(1)).mean()
    one_hot = nn.functional.one_hot(y).T.to(u.dtype)
    counts = one_hot.sum(1)
    centre = (one_hot @ u) / counts.clamp_min(1)[:, None]
    spread = (u - centre[y]).square().mean(1)
    within = (one_hot @ spread) / counts.clamp_min(1) * (counts > 1)
    return loss + spec.class_variance.weight * within.sum() / (counts > 0).sum()


def train_plain(bags: Bags, y: Tensor, runs: list[RunSpec]) -> list[dict[str, Tensor]]:
    """One run after another."""
    states = []
    for run in runs:
        model = PlainHead(bags.x.shape[2], 2)
        start = run.head.build(bags.x.shape[2], 2).init([init_seed(run.seed, run.repeat, run.fold)])
        ours = [name for name in start if name != "attention.score.weight"]
        theirs = [name for name in model.state_dict() if name != "score.weight"]
        loaded = {name: start[own][0] for name, own in zip(theirs, ours, strict=True)}
        model.load_state_dict(loaded | {"score.weight": start["attention.score.weight"]})
        optimiser = torch.optim.Adam(model.parameters(), lr=run.train.learning_rate)
        for epoch in range(run.train.epochs):
            stream = order_stream(run.seed, run.repeat, run.fold, epoch)
            for batch in plain_batches(run.train_rows, run.train.batch_size, stream):
                rows = torch.from_numpy(batch[batch >= 0])
                optimiser.zero_grad()
                loss = plain_loss(run.loss, *model(bags.x[rows], bags.keep[rows]), y[rows])
                loss.backward()
                optimiser.step()
        states.append(dict(model.state_dict()))
    return states


def make_data(n: int, slices: int, dim: int) -> tuple[Bags, Tensor]:
    """Noise with a weak signal in five dimensions."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(n) % 2
    x = torch.randn(n, slices, dim, generator=generator)
    x[..., :5] += 0.2 * y[:, None, None]
    return Bags(x, torch.ones(n, slices, dtype=torch.bool), torch.zeros(n, slices)), y


def make_runs(n: int, folds: int, epochs: int, loss: LossSpec) -> list[RunSpec]:
    """One run per fold, plain batches, no early stop."""
    parts = np.array_split(np.random.default_rng(0).permutation(n), folds)
    train = TrainSpec(epochs=epochs, patience=None, class_balanced=False)
    nobody = np.array([], dtype=np.int64)
    return [
        RunSpec(
            "benchmark",
            0,
            fold,
            0,
            AttentionSpec(embedding=(256, 128), centre=False),
            loss,
            train,
            np.concatenate(parts[:fold] + parts[fold + 1 :]),
            nobody,
        )
        for fold in range(folds)
    ]


def seconds(call: Callable[[], Any]) -> float:
    """Wall-clock time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(args: argparse.Namespace, loss: LossSpec) -> dict[str, Any]:
    """Interleaved medians of both ways."""
    bags, y = make_data(args.volumes, args.slices, args.dim)
    weight = torch.ones(len(y))
    warm = make_runs(args.volumes, args.folds, 1, loss)
    train_stacked(bags, y, weight, 2, warm)
    train_plain(bags, y, warm)
    runs = make_runs(args.volumes, args.folds, args.epochs, loss)
    ours, plain = [], []
    for _ in range(args.repeats):
        ours.append(seconds(lambda: train_stacked(bags, y, weight, 2, runs)))
        plain.append(seconds(lambda: train_plain(bags, y, runs)))
    steps = sum(-(-len(run.train_rows) // run.train.batch_size) for run in runs) * args.epochs
    return {
        "stacked_seconds": median(ours),
        "plain_seconds": median(plain),
        "stacked_ms_per_run_step": 1e3 * median(ours) / steps,
        "plain_ms_per_run_step": 1e3 * median(plain) / steps,
        "ratio": median(plain) / median(ours),
        "ratio_low": min(plain) / max(ours),
        "ratio_high": max(plain) / min(ours),
    }


def main() -> None:
    """Print a table, and the same as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("volumes", 300), ("slices", 50), ("dim", 384), ("folds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    results = {name: measure(args, loss) for name, loss in LOSSES.items()}
    print(f"{args.folds} folds, {args.volumes} x {args.slices} x {args.dim} float32, {args.epochs} epochs, ")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, medians of {args.repeats}\n")
    print("| loss | stacked s | one by one s | stacked ms per run and step | one by one | ratio (range) |")
    print("|---|---|---|---|---|---|")
    for name, r in results.items():
        print(
            f"| {name} | {r['stacked_seconds']:.2f} | {r['plain_seconds']:.2f} "
            f"| {r['stacked_ms_per_run_step']:.2f} | {r['plain_ms_per_run_step']:.2f} "
            f"| {r['ratio']:.2f} ({r['ratio_low']:.2f}-{r['ratio_high']:.2f}) |"
        )
    if args.json:
        settings = {k: v for k, v in vars(args).items() if k != "json"}
        args.json.write_text(json.dumps({"settings": settings, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
