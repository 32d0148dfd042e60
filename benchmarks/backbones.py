"""Every kind of network behind the adapter, beside plain `transformers`: numbers, speed, memory.

    OMP_NUM_THREADS=1 python benchmarks/backbones.py --json out.json

Weights are random (deviation 0.05, so that attention is not even), drawn and saved by `transformers` itself,
in the shape of a ViT-S (12 blocks of 384; the ConvNeXt is the released tiny one), each at its native canvas.
A row is a process of its own. Speeds are by CPU time, the best of interleaved calls (on a shared machine the
steadiest); memory is the peak of a call above what lay there before it.
"""

import argparse
import ctypes
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from extract.backbones.huggingface.examples import CONFIGURATIONS, save_example
from extract.backbones.huggingface.reading import quiet
from extract.backbones.huggingface.spec import HuggingFaceSpec

CPU = torch.device("cpu")
SMALL = {"initializer_range": 0.05, "hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6}
TINY = {"hidden_sizes": [96, 192, 384, 768], "depths": [3, 3, 9, 3], "image_size": 224}
SLICES = 8
LAYER = 6
LIBC = ctypes.CDLL(None)


def real(name: str) -> dict[str, Any]:
    """What makes the small example of a name as large as a ViT-S."""
    if name == "dinov3_convnext":
        return TINY
    if name == "siglip2":
        return {**SMALL, "intermediate_size": 1536, "num_patches": 256}
    if name.startswith("dinov2"):
        return {**SMALL, "image_size": 224}
    return {**SMALL, "intermediate_size": 1536, "image_size": 224}


def plain(folder: Path, attention: str) -> Any:
    """The network as `AutoModel` gives it."""
    with quiet():
        from transformers import AutoModel

        try:
            return AutoModel.from_pretrained(folder, attn_implementation=attention).eval()
        except ValueError:  # convolutions
            return AutoModel.from_pretrained(folder).eval()


def inputs(name: str, network: Any, pixels: Tensor) -> dict[str, Any]:
    """As the documentation of `transformers` says."""
    if name == "vit_mae":
        network.config.mask_ratio = 0.0
        count = (pixels.shape[2] // 16) ** 2
        return {"pixel_values": pixels, "noise": torch.arange(count).float().expand(len(pixels), -1)}
    if name == "siglip2":
        cut = pixels.unfold(2, 16, 16).unfold(3, 16, 16)
        rows, cols = cut.shape[2:4]
        flat = cut.permute(0, 2, 3, 4, 5, 1).reshape(len(pixels), rows * cols, -1).contiguous()
        mask = torch.ones(len(pixels), rows * cols, dtype=torch.int64)
        shapes = torch.tensor([[rows, cols]] * len(pixels))
        return {"pixel_values": flat, "pixel_attention_mask": mask, "spatial_shapes": shapes}
    return {"pixel_values": pixels}


def apart(one: Tensor, other: Tensor) -> float:
    """The largest difference."""
    return float((one - other).abs().max())


def measure(name: str, folder: Path, repeats: int) -> dict[str, Any]:
    """One row of the table."""
    save_example(folder, name, **real(name))
    network = HuggingFaceSpec(path=folder / name).load()
    side = network.layout.table_side or 14
    canvas = side * network.patch_size if name != "dinov3_convnext" else 224
    has_cls = "cls" in network.offers
    pixels = torch.randn(SLICES, 3, canvas, canvas, generator=torch.Generator().manual_seed(0))
    ours = network.place(canvas, CPU, torch.float32)
    eager = plain(folder / name, "eager")
    given = inputs(name, eager, pixels)
    with torch.inference_mode():
        wanted = eager(**given, output_hidden_states=has_cls, output_attentions=has_cls)
    row = {"name": name, "canvas": canvas, "parameters": sum(w.numel() for w in network.weights.values())}
    row |= differences(network, canvas, pixels, wanted, eager)
    del wanted, eager
    fused = plain(folder / name, "sdpa")
    given = inputs(name, fused, pixels)

    def theirs() -> None:
        with torch.inference_mode():
            fused(**given)

    return row | timed({"ours": lambda: ours(pixels), "transformers": theirs}, repeats)


def differences(network: Any, canvas: int, pixels: Tensor, wanted: Any, eager: Any) -> dict[str, Any]:
    """How far tokens, CLS attention and an inner block lie from those of eager `transformers`."""
    has_cls = "cls" in network.offers
    placed = network.place(canvas, CPU, torch.float32, [LAYER] if has_cls else [], has_cls)
    found, tokens = placed(pixels), wanted.last_hidden_state
    rows, cols = placed.grid
    row: dict[str, Any] = {"tokens": apart(found.patches.flatten(1, 2), tokens[:, -rows * cols :])}
    if "pooled" in found.cls:
        row["pooled"] = apart(found.cls["pooled"], wanted.pooler_output)
    if has_cls:
        row["tokens"] = max(row["tokens"], apart(found.cls["cls"], tokens[:, 0]))
        weights = wanted.attentions[-1][:, :, 0, -rows * cols :].unflatten(2, placed.grid)
        row["attention"] = apart(found.attention, weights)
        norm = getattr(eager, network.layout.family.norm)
        with torch.inference_mode():
            inner = norm(wanted.hidden_states[LAYER][:, 0])
        row["layer"] = apart(found.cls[f"cls_l{LAYER:02d}"], inner)
    return row


def timed(sides: dict[str, Callable[[], object]], repeats: int) -> dict[str, Any]:
    """Slices per second and peak megabytes of each side."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    peaks = dict.fromkeys(sides, 0.0)
    for turn in range(repeats + 1):
        for name, call in sides.items():
            LIBC.malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")
            before, start = resident("VmRSS"), time.process_time()
            call()
            if turn:  # the first call warms up
                seconds[name].append(time.process_time() - start)
                peaks[name] = max(peaks[name], resident("VmHWM") - before)
    rates = {name: SLICES / min(values) for name, values in seconds.items()}
    return {f"slices_s_{name}": rate for name, rate in rates.items()} | {
        f"peak_mb_{name}": peak for name, peak in peaks.items()
    }


def resident(field: str) -> float:
    """Megabytes of this process, now (`VmRSS`) or at most since the peak was reset (`VmHWM`)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    head = ("network", "parameters", "canvas", "tokens", "pooled", "CLS attention", "block 6")
    speeds = ("slices/s", "transformers'", "ratio", "peak MB", "transformers'")
    lines = ["| " + " | ".join((*head, *speeds)) + " |", "|" + " --- |" * (len(head) + len(speeds))]
    for row in rows:
        rates = [row[f"slices_s_{side}"] for side in ("ours", "transformers")]
        cells = [row["name"], f"{row['parameters'] / 1e6:.1f} M", str(row["canvas"])]
        cells += [
            f"{row[key]:.0e}" if key in row else "none" for key in ("tokens", "pooled", "attention", "layer")
        ]
        cells += [*(f"{rate:.2f}" for rate in rates), f"{rates[0] / rates[1]:.2f}"]
        cells += [f"{row[f'peak_mb_{side}']:.0f}" for side in ("ours", "transformers")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--names", nargs="*", default=list(CONFIGURATIONS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(asked.one, Path(folder), asked.repeats)))
        return
    rows = []
    for name in asked.names:
        command = [sys.executable, __file__, "--one", name, "--repeats", str(asked.repeats)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(rows[-1], file=sys.stderr)
    print(table(rows))
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
