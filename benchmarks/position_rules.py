"""One head on the exact DINOv2 path and on the adapter: at the native grid, and where their rules differ.

    OMP_NUM_THREADS=1 python benchmarks/position_rules.py

A ViT-S/14 of random weights with the releases' 37 x 37 position table, saved by `transformers`. Its table is
drawn smooth, as trained tables are (a 7 x 7 field of deviation 0.2, resampled), or rough: every entry on its
own. Images are discs of noise on black. At 518 px no table is resampled; at 224 px the exact path follows
the official code, and `transformers` its own rule.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from aggregate.bags.bags import Bags
from aggregate.heads.attention import AttentionSpec
from aggregate.training.stacked import apply_head
from extract.backbones.backbone import Backbone, Tokens
from extract.backbones.dinov2 import Dinov2Spec
from extract.backbones.huggingface.examples import save_example
from extract.backbones.huggingface.reading import quiet
from extract.backbones.huggingface.spec import HuggingFaceSpec

CPU = torch.device("cpu")
SMALL = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "image_size": 518}


def with_table(folder: Path, smooth: bool) -> None:
    """Draw the position table of a saved checkpoint anew."""
    with quiet():
        from transformers import AutoModel

        network = AutoModel.from_pretrained(folder)
        table = network.embeddings.position_embeddings
        drawn = torch.randn(1, 384, 7, 7, generator=torch.Generator().manual_seed(1))
        field = functional.interpolate(drawn, size=(37, 37), mode="bicubic") if smooth else None
        with torch.no_grad():
            if field is None:
                table[:, 1:] = torch.randn(1, 37**2, 384, generator=torch.Generator().manual_seed(1)) * 0.2
            else:
                table[:, 1:] = field.flatten(2).transpose(1, 2) * 0.2
        network.save_pretrained(folder)


def images(slices: int, canvas: int) -> Tensor:
    """Discs of noise `(slice, 3, canvas, canvas)`, as normalised."""
    axis = torch.linspace(-1, 1, canvas)
    disc = (axis[:, None] ** 2 + axis**2 < 0.7).float()
    coarse = torch.rand(slices, 1, 28, 28, generator=torch.Generator().manual_seed(2))
    grey = disc * functional.interpolate(coarse, size=(canvas, canvas), mode="bicubic")
    return ((grey - 0.45) / 0.225).expand(-1, 3, -1, -1)


def cosine(one: Tensor, other: Tensor) -> float:
    """The smallest cosine of two sets of tokens."""
    return float(functional.cosine_similarity(one, other, dim=-1).min())


def logits(tokens: Tokens) -> Tensor:
    """Of an attention head of drawn weights over the slices' CLS tokens, standardised."""
    x = tokens.cls["cls"][None]
    head = AttentionSpec(hidden=16, embedding=(64,), centre=False).build(x.shape[2], 2)
    state = {name: value[0] for name, value in head.init([4]).items()}
    bags = Bags(x, torch.ones(x.shape[:2], dtype=torch.bool), torch.zeros(x.shape[:2]))
    return apply_head(head, [state], bags).logits[0, 0]


def beside(name: str, smooth: bool, canvas: int, slices: int) -> str:
    """One row."""
    with tempfile.TemporaryDirectory() as made:
        folder = save_example(Path(made), name, **SMALL)
        with_table(folder, smooth)
        pixels = images(slices, canvas)
        sides: list[Backbone] = [
            Dinov2Spec(path=folder).build(canvas, CPU, torch.float32),
            HuggingFaceSpec(path=folder).build(canvas, CPU, torch.float32),
        ]
        exact, adapted = (side(pixels) for side in sides)
    far = float((logits(exact) - logits(adapted)).abs().max())
    rules = [side.identity.position_table for side in sides]
    cls = float((exact.cls["cls"] - adapted.cls["cls"]).abs().max())
    cells = [name, "smooth" if smooth else "rough", str(canvas), *rules, f"{far:.1e}", f"{cls:.1e}"]
    cells += [f"{1 - cosine(exact.cls['cls'], adapted.cls['cls']):.1e}"]
    cells += [f"{1 - cosine(exact.patches, adapted.patches):.1e}"]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--slices", type=int, default=4)
    parser.add_argument("--names", nargs="*", default=["dinov2", "dinov2_registers"])
    parser.add_argument("--canvases", nargs="*", type=int, default=[518, 224])
    asked = parser.parse_args()
    head = ("network", "table", "canvas", "exact path's rule", "adapter's rule", "logits apart", "CLS apart")
    print("| " + " | ".join((*head, "1 - cosine of CLS, worst", "of a patch, worst")) + " |")
    print("|" + " --- |" * 9)
    for name in asked.names:
        for canvas in asked.canvases:
            for smooth in (True, False) if canvas != 518 else (True,):
                print(beside(name, smooth, canvas, asked.slices), flush=True)


if __name__ == "__main__":
    main()
