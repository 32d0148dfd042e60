"""A training epoch as DinoAtten3D is released, with the backbone in the loop, beside one from the store.

The released code sends every slice of every volume through the frozen ViT-S/14 in every epoch, one slice
at a time, and trains for 1000 epochs. Here one epoch of it is measured on a few volumes of 50 slices with a
backbone of random weights, which costs what the real one costs; ours is one run of the loss grid (125 runs
side by side, `ablate.py`) on as many volumes.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from ablate import CASES, make_data, make_grid, n_steps, seconds
from torch import Tensor

from aggregate.training.spec import TrainSpec
from aggregate.training.stacked import train_stacked
from extract.backbones.untrained import UntrainedSpec

PIXELS, EPOCHS, RUNS = 224, 1000, 125


def embed(volumes: int, slices: int) -> float:
    """Seconds to embed every slice of every volume, one slice per forward pass, in float32."""
    backbone = UntrainedSpec(size="small").build(PIXELS, torch.device("cpu"), torch.float32)
    image = torch.randn(1, 3, PIXELS, PIXELS)
    backbone(image)
    start = time.perf_counter()
    tokens: list[Tensor] = [backbone(image).cls["cls"] for _ in range(volumes * slices)]
    assert len(tokens) == volumes * slices
    return time.perf_counter() - start


def main() -> None:
    """Print both epochs and what the published study takes either way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--volumes", type=int, default=12, help="that are sent through the backbone")
    parser.add_argument("--slices", type=int, default=50)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    forward = embed(args.volumes, args.slices) / args.volumes
    bags, y = make_data(300, args.slices, 384)
    grid = make_grid(
        300, CASES["attention"][0], TrainSpec(start="plain", epochs=2, patience=None, class_balanced=False)
    )
    train_stacked(bags, y, torch.ones(len(y)), 2, grid[:5])
    taken = seconds(lambda: train_stacked(bags, y, torch.ones(len(y)), 2, grid))
    step = taken / n_steps(grid)
    volumes = len(grid[0].train_rows)
    ours, released = step * -(-volumes // 16), forward * volumes + step * -(-volumes // 16)
    days = released * EPOCHS * RUNS / 86400
    hours = ours * EPOCHS * RUNS / 3600
    print(f"one slice through ViT-S/14: {1e3 * forward / args.slices:.1f} ms")
    print(
        f"one epoch of {volumes} volumes: {released:.1f} s as released, {1e3 * ours:.1f} ms from the store,"
    )
    print(f"a ratio of {released / ours:.0f}; {RUNS} runs of {EPOCHS} epochs: {days:.0f} days as released,")
    print(f"{hours:.1f} hours from the store after {forward * 300 / 60:.1f} minutes of embedding once")
    if args.json:
        found = {"released_epoch_s": released, "ours_epoch_s": ours, "ratio": released / ours}
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
