"""What a brain mask changes for heads with skull and face: foreground, kept slices, tokens.

    python benchmarks/brain_masks.py shared/data/ixi-2mm/*.nii.gz

The mask here is a morphological one (Otsu, opened by 6 mm, the largest component, closed), which needs no
weights; those of HD-BET or SynthStrip are better and as large. The backbone is untrained, so cosines say how
much the input of a backbone differs, and nothing of what a trained one makes of that.
"""

import argparse
import json
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

import slicecache as sc
from extract.slices.foreground import largest_component, otsu
from extract.slices.intensity import quantiles

OPEN_MM, CLOSE_MM = 6.0, 10.0


def ball(radius_mm: float, spacing_mm: np.ndarray) -> np.ndarray:
    """A ball of voxels."""
    reach = np.ceil(radius_mm / spacing_mm).astype(int)
    axes = np.ogrid[tuple(slice(-n, n + 1) for n in reach)]
    return sum((axis * mm) ** 2 for axis, mm in zip(axes, spacing_mm, strict=True)) <= radius_mm**2


def brain_mask(image: nib.spatialimages.SpatialImage) -> np.ndarray:
    """A plausible brain of a T1w head: what stays together when thin bridges through the skull are cut."""
    data = np.asarray(image.dataobj, dtype=np.float32)
    spacing = np.asarray(image.header.get_zooms()[:3], dtype=float)
    low, high = quantiles(data, (0.5, 99.5))
    tissue = data > otsu(data, float(low), float(high))
    core = largest_component(ndimage.binary_erosion(tissue, ball(OPEN_MM, spacing)))
    opened = ndimage.binary_dilation(core, ball(OPEN_MM, spacing))
    closed = ndimage.binary_closing(np.pad(opened, 12), ball(CLOSE_MM, spacing))[12:-12, 12:-12, 12:-12]
    return ndimage.binary_fill_holes(closed)


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Row by row."""
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def compare(path: Path, backbone: dict[str, object]) -> dict[str, float]:
    """One head, by its own foreground and by a mask of its brain."""
    image = nib.load(path)
    mask = nib.Nifti1Image(brain_mask(image).astype(np.uint8), image.affine)
    given = {"backbone": backbone, "tokens": ["cls", "patch_mean"]}
    head, brain = sc.embed(image, **given), sc.embed(image, foreground=mask, **given)
    both = sorted(set(head.record.slices.index) & set(brain.record.slices.index))
    at = [[list(found.record.slices.index).index(n) for n in both] for found in (head, brain)]
    told = {
        f"cosine {name}": float(np.median(cosine(head[name][at[0]], brain[name][at[1]])))
        for name in ("cls", "patch_mean")
    }
    moved = np.subtract(head.geometry.canvas_to_native, brain.geometry.canvas_to_native)[:, -1]
    spacing = np.asarray(head.geometry.spacing_mm)
    return {
        "head ml": head.record.foreground.millilitres,
        "mask ml": brain.record.foreground.millilitres,
        "head slices": len(head.record.slices.index),
        "mask slices": len(brain.record.slices.index),
        "vertex lower mm": float(head.height_mm[at[0][0]] - brain.height_mm[at[1][0]]),
        "field moved mm": float(np.linalg.norm(moved * spacing)),
        "window head": head.record.intensity_quantiles["q99.5"] or 0.0,
        "window mask": brain.record.intensity_quantiles["q99.5"] or 0.0,
        **told,
    }


def main() -> None:
    """A row per head, and the median of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("heads", nargs="+", type=Path)
    parser.add_argument("--size", default="small")
    given = parser.parse_args()
    rows = {path.name: compare(path, {"kind": "untrained", "size": given.size}) for path in given.heads}
    for name, row in rows.items():
        print(name, json.dumps({key: round(value, 3) for key, value in row.items()}))
    columns = {key: [row[key] for row in rows.values()] for key in next(iter(rows.values()))}
    for key, values in columns.items():
        print(f"{key:<16} median {np.median(values):9.3f}  {min(values):9.3f} to {max(values):9.3f}")


if __name__ == "__main__":
    main()
