"""The tables of a GPU: extraction beside the forward pass on it, for ViT-S, B and L of DINOv2 and DINOv3.

    CUDA_VISIBLE_DEVICES=0 python benchmarks/gpu.py --volumes 64 --json gpu.json

Weights are drawn, in the shapes of the releases, so that nothing is downloaded. Each row is `extraction.py`
on that backbone: compressed NIfTI in, a store out, real decoding on all cores, beside the fastest forward
pass on preloaded pixels that is exact enough. With `--train` the ablation's grid trains on the GPU and on the
CPU besides, and says how far their logits are apart. **It has not been run on a GPU**: nobody had one.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# Spawned processes import this file again: what is heavy is imported where it is used, as in the command.
SIZES = {"small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16), "tiny": (48, 3, 3)}
"""Width, blocks and heads."""
REAL = 0.85
"""Of the limit, with real decoding on 16 cores: what is asked."""


def backbone_of(family: str, size: str, folder: Path) -> dict[str, Any]:
    """What a pipeline says of a network with drawn weights."""
    if family == "dinov2":
        return {"kind": "untrained", "size": size}
    from extract.backbones.huggingface.examples import save_example

    width, blocks, heads = SIZES[size]
    shape = {"hidden_size": width, "num_hidden_layers": blocks, "num_attention_heads": heads}
    more = {"intermediate_size": 4 * width, "image_size": 224, "initializer_range": 0.02}
    folder.mkdir()
    saved = save_example(folder, "dinov3", **shape, **more)
    return {"kind": "huggingface", "path": str(saved)}


def row_of(family: str, size: str, base: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One backbone: extraction and forward passes by turns."""
    from extraction import able_backbones, one_round

    from extract.planning.config import ExtractSection

    own = base / f"{family}-{size}"
    own.mkdir()
    (own / "bids").symlink_to(base / "bids")
    section = ExtractSection.model_validate(
        {
            "input": {"bids": "bids", "suffix": "T1w"},
            "backbone": backbone_of(family, size, own / "weights"),
            "device": options.device,
            "dtype": options.dtype,
            "engine": "torch",
            "gpus": 1,
            "batch_size": options.batch_size,
            "workers": options.workers,
        }
    )
    able = able_backbones(section)
    asked = argparse.Namespace(size=size if family == "dinov2" else "", beside=None)
    rounds = [one_round(own, section, turn, able, asked) for turn in range(options.rounds)]

    def middle(name: str) -> float:
        return float(statistics.median(one[name] for one in rounds))

    slices = rounds[0]["slices"]
    return {
        "backbone": f"{family} {size}",
        "took": rounds[0]["taken"],
        "limit": rounds[0]["limit"],
        "slices": slices,
        "slices_per_s": slices / middle("extract"),
        "limit_slices_per_s": slices / middle("forward"),
        "ratio_to_limit": middle("ratio_to_limit"),
        "ratio_to_limit_after_auto": middle("ratio_to_limit_after_auto"),
        "rounds": rounds,
    }


def training_rows(device: str, weights: int = 25, epochs: int = 20) -> list[dict[str, Any]]:
    """The grid of `ablate.py` on the device and on the CPU: seconds, and how far logits are apart."""
    import numpy as np
    import torch
    from pydantic import TypeAdapter

    from aggregate.bags.bags import Bags
    from aggregate.heads.registry import HeadSpec
    from aggregate.losses.registry import LossSpec
    from aggregate.training.spec import TrainSpec
    from aggregate.training.stacked import RunSpec, apply_head, train_stacked

    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(300, 50, 384, generator=generator), torch.arange(300) % 2
    x[:, :5, :16] += 0.3 * y.view(-1, 1, 1)
    bags = Bags(x, torch.ones(300, 50, dtype=torch.bool), torch.arange(50.0).expand(300, -1).contiguous())
    rows = []
    for kind in ("attention", "gated_attention", "mst"):
        head = TypeAdapter(HeadSpec).validate_python({"kind": kind, "embedding": [256, 128]})
        built, seconds, logits = head.build(384, 2), {}, {}
        for place in ("cpu", device):
            train = TrainSpec(epochs=epochs, batch_size=16, patience=None, products="torch", device=place)
            runs = [
                RunSpec(
                    f"c{weight}", 0, fold, 0, head,
                    LossSpec.model_validate({"cross_entropy": 1, "supcon": weight / 5}), train,
                    np.arange(300)[np.arange(300) % 5 != fold], np.arange(300)[np.arange(300) % 5 == fold],
                )
                for weight in range(weights)
                for fold in range(5)
            ]  # fmt: skip
            train_stacked(bags, y, torch.ones(300), 2, runs[:1])  # warm
            start = time.perf_counter()
            found = train_stacked(bags, y, torch.ones(300), 2, runs)
            seconds[place] = time.perf_counter() - start
            logits[place] = apply_head(built, [run.state for run in found], bags).logits
        apart = (logits["cpu"] - logits[device]).abs().max() / logits["cpu"].std()
        counted = {"head": kind, "runs": len(runs), "seconds": seconds}
        rows.append({**counted, "logits_apart_of_sd": float(apart)})
    return rows


def main() -> int:
    """Print the tables, and JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=["cuda", "mps", "cpu"])
    parser.add_argument("--families", nargs="+", default=["dinov2", "dinov3"], choices=["dinov2", "dinov3"])
    parser.add_argument("--sizes", nargs="+", default=["small", "base", "large"], choices=list(SIZES))
    parser.add_argument("--volumes", type=int, default=64)
    parser.add_argument("--shape", type=int, nargs=3, default=[192, 224, 160])
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--train", action="store_true", help="the ablation's grid, too")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    options = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command does, before torch is loaded
    import torch
    from extraction import write_cohort

    from extract.engines.device import choose_device, device_name, this_machine

    name = device_name(choose_device(options.device, this_machine()))
    print(f"{name}, {this_machine().cpu_count} cores ({platform.machine()}), torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        write_cohort(base / "bids", options.volumes, tuple(options.shape))
        rows = []
        print(f"{'backbone':>16} {'slices/s':>9} {'limit':>9} {'ratio':>6} {'after auto':>10}  took")
        for family in options.families:
            for size in options.sizes:
                row = row_of(family, size, base, options)
                rows.append(row)
                ratio, after = row["ratio_to_limit"], row["ratio_to_limit_after_auto"]
                print(
                    f"{row['backbone']:>16} {row['slices_per_s']:9.1f} {row['limit_slices_per_s']:9.1f} "
                    f"{ratio:6.2f} {after:10.2f}  {row['took']}{'' if after >= REAL else f', below {REAL}'}",
                    flush=True,
                )
    trained = training_rows(options.device) if options.train else []
    for own in trained:
        seconds = ", ".join(f"{place} {taken:.1f} s" for place, taken in own["seconds"].items())
        print(f"{own['head']:>16} {own['runs']} runs: {seconds}; apart {own['logits_apart_of_sd']:.1e} of sd")
    if options.json is not None:
        found = {"device": name, "cores": this_machine().cpu_count, "extraction": rows, "training": trained}
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
