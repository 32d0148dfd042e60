"""BMAD on disk and in tokens: read the tree, embed every slice once, keep the tokens in a file.

The tree that is assumed, as BMAD's download has it (BraTS2021, BTCV + LiTS, RESC):

    train/good/*.png
    valid/good/img/*.png     valid/Ungood/img/*.png     valid/Ungood/label/*.png
    test/good/img/*.png      test/Ungood/img/*.png      test/Ungood/label/*.png

`valid/good/*.png` without `img` is read too, labels of good slices (all black) are not. A label has its
image's name; what is not black in it is lesion. Whose a slice is stands before the last `_` of its name
(`00042_81.png`); intervals are over those, and who has slices on two sides is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from aggregate.anomaly.detectors.base import SliceBatch
from cache_schema.common.errors import SlicecacheError
from extract.backbones.backbone import Backbone
from extract.engines.on_device import pool

EMBED = 8
"""Slices of one forward pass."""


@dataclass(frozen=True, slots=True)
class Item:
    """One slice."""

    image: Path
    label: Path | None
    """None for a normal slice."""
    participant: str


def read_tree(root: Path) -> dict[str, list[Item]]:
    """`train`, `valid_good` (held-out normals) and `test`, each sorted by name.

    Raises:
        SlicecacheError: If a part is missing or an image has no label.
    """
    return {
        "train": _good(root / "train" / "good"),
        "valid_good": _good(root / "valid" / "good"),
        "test": [*_good(root / "test" / "good"), *_ungood(root / "test" / "Ungood")],
    }


def on_two_sides(tree: dict[str, list[Item]]) -> list[str]:
    """Participants of whom both `train` and `test` have slices: a bank knows their normal tissue."""
    return sorted({i.participant for i in tree["train"]} & {i.participant for i in tree["test"]})


def _good(folder: Path) -> list[Item]:
    inner = folder / "img"
    found = sorted((inner if inner.is_dir() else folder).glob("*.png"))
    if not found:
        raise SlicecacheError(f"{str(folder)!r} holds no *.png: see the layout in benchmarks/bmad_slices.py")
    return [Item(path, None, whose(path)) for path in found]


def _ungood(folder: Path) -> list[Item]:
    found = sorted((folder / "img").glob("*.png"))
    items = [Item(path, folder / "label" / path.name, whose(path)) for path in found]
    missing = [item.image.name for item in items if item.label and not item.label.is_file()]
    if missing or not items:
        raise SlicecacheError(f"{str(folder)!r}: {len(items)} images, without a label: {missing[:3]}")
    return items


def whose(path: Path) -> str:
    """Participant of a slice, from its file's name."""
    return path.stem.rpartition("_")[0] or path.stem


def read_grey(path: Path) -> NDArray[np.uint8]:
    """An image as 8-bit grey `(row, column)`."""
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))


@dataclass(frozen=True, slots=True)
class Slices:
    """The tokens of a list of items; patches lie in a file and are read as asked for."""

    items: Sequence[Item]
    patches: NDArray[np.float16]
    """`(slice, row, col, dim)`."""
    foreground: NDArray[np.float32]
    """`(slice, row, col)`: share of the patch's pixels above 0 (BMAD's brains are stripped)."""
    intensity: NDArray[np.float32]
    cls: NDArray[np.float16]
    volume: NDArray[np.int64]
    """By participant."""

    def batch(self, index: NDArray[np.int64]) -> SliceBatch:
        """Some slices; 2D slices have no height, so all are at 0."""
        return SliceBatch(
            patches=torch.from_numpy(self.patches[index].astype(np.float32)),
            foreground=torch.from_numpy(self.foreground[index]),
            intensity=torch.from_numpy(self.intensity[index]),
            cls=torch.from_numpy(self.cls[index].astype(np.float32)),
            height_mm=torch.zeros(len(index)),
            volume=torch.from_numpy(self.volume[index]),
        )


def embed(items: Sequence[Item], backbone: Backbone, pixels: int, device: torch.device, file: Path) -> Slices:
    """Embed slices: bicubic to the canvas, grey in three channels, ImageNet's mean and deviation.

    Args:
        items: What to embed.
        backbone: Built for a canvas of `pixels`.
        pixels: Side of the square canvas; a slice that is not square is stretched, as BMAD's protocol does.
        device: The backbone's.
        file: Where the patch tokens are kept, in float16.
    """
    mean, std = (
        torch.tensor(values, device=device).view(1, 3, 1, 1)
        for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    n, grid = len(items), backbone.grid
    patches = np.lib.format.open_memmap(file, mode="w+", dtype=np.float16, shape=(n, *grid, backbone.dim))
    share, grey_mean = np.empty((n, *grid), np.float32), np.empty((n, *grid), np.float32)
    cls = np.empty((n, backbone.dim), np.float16)
    for start in range(0, n, EMBED):
        part = slice(start, min(start + EMBED, n))
        grey = torch.from_numpy(np.stack([_on_canvas(item.image, pixels) for item in items[part]])).to(device)
        with torch.inference_mode():
            tokens = backbone((grey[:, None] - mean) / std)
        patches[part] = tokens.patches.cpu().numpy().astype(np.float16)
        cls[part] = tokens.cls["cls"].cpu().numpy().astype(np.float16)
        share[part] = pool((grey > 0).float(), grid).cpu().numpy()
        grey_mean[part] = pool(grey, grid).cpu().numpy()
    patches.flush()
    # A number that is the same in train and test, for detectors that leave out a slice's own volume.
    volume = np.array(
        [int(sha256(item.participant.encode()).hexdigest()[:15], 16) for item in items], dtype=np.int64
    )
    return Slices(items, np.load(file, mmap_mode="r"), share, grey_mean, cls, volume)


def _on_canvas(path: Path, pixels: int) -> NDArray[np.float32]:
    """A slice on the canvas, in [0, 1]."""
    image = Image.fromarray(read_grey(path)).resize((pixels, pixels), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float32) / np.float32(255)
