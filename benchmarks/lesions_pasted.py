"""Lesions in the shape of real stroke masks, pasted into real brains: a BIDS tree with masks and a table.

The masks lie in MNI space. A brain is brought there by one scale and shift per world axis, which lay the 1st
and 99th percentile of its voxels on the template's: enough for a lesion to lie in tissue where strokes lie,
and no registration. What changes is what `simulate` changes: `dark` leaves 55 % of the intensity, `texture`
leaves each lesion's mean as it was.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import nibabel
import numpy as np
from numpy.typing import NDArray

from extract.simulate.acquire import EDGE
from extract.simulate.lesion import Change, draw_texture, retexture
from extract.simulate.look import DARKENING
from extract.simulate.masks import MaskLesion, list_masks, mask_share
from extract.simulate.template import Template, load_template

State = Literal["plain", "lesion"]
ENDS = (1.0, 99.0)
"""Percentiles of the voxels' world coordinates that are laid on each other."""


def paste_cohort(
    brains: Sequence[Path], masks: Path, out: Path, change: Change, seed: int, both: bool
) -> None:
    """Write `out` with `volumes.tsv`: participant_id, session_id, state, lesion_mask.

    Args:
        brains: Skull-stripped T1w volumes, `sub-XX_T1w.nii.gz`.
        masks: Folder or pattern of masks in MNI space.
        out: New, or written by this function.
        change: What lesions look like.
        seed: Of which mask goes where, mirrored or not, and of textures.
        both: Every brain as it is and with a lesion, as two sessions; else every other brain has one.
    """
    table = out / "volumes.tsv"
    if table.exists():
        return
    template, shapes = load_template(), list_masks(masks)
    order = np.random.default_rng(seed).permutation(max(len(brains), len(shapes)))
    rows = ["participant_id\tsession_id\tstate\tlesion_mask"]
    for place, brain in enumerate(brains):
        name = brain.name.partition("_")[0]
        shape = shapes[order[place] % len(shapes)]
        states: tuple[State, ...] = ("plain", "lesion") if both else (("plain", "lesion")[place % 2],)
        for state in states:
            folder, stem = out / name / f"ses-{state}" / "anat", f"{name}_ses-{state}"
            folder.mkdir(parents=True, exist_ok=True)
            cell = "n/a"
            if state == "plain":
                shutil.copyfile(brain, folder / f"{stem}_T1w.nii.gz")
            else:
                image, mask = with_lesion(nibabel.load(brain), shape, template, change, (seed, place))
                nibabel.save(image, folder / f"{stem}_T1w.nii")
                nibabel.save(mask, path := folder / f"{stem}_label-lesion_mask.nii")
                cell = path.relative_to(out).as_posix()
            rows.append(f"{name}\tses-{state}\t{state}\t{cell}")
    (out / "dataset_description.json").write_text('{"Name": "pasted lesions", "BIDSVersion": "1.8.0"}\n')
    table.write_text("\n".join(rows) + "\n")


def with_lesion(
    image: nibabel.Nifti1Image, shape: Path, template: Template, change: Change, seed: tuple[int, int]
) -> tuple[nibabel.Nifti1Image, nibabel.Nifti1Image]:
    """A brain with a lesion, and the lesion's mask on its grid."""
    signal = np.array(image.dataobj, dtype=np.float32)
    brain = signal > 0
    places = template_places(brain, image.affine, template)
    mirrored = bool(np.random.default_rng((*seed, 2)).integers(2))
    share = mask_share(MaskLesion(str(shape), mirrored, DARKENING), places, template) * brain
    if change == "dark":
        signal *= 1 - np.float32(1 - DARKENING) * share
    else:
        retexture(signal, share, places, draw_texture(seed))
    mask = nibabel.Nifti1Image((share > 0.5).astype(np.uint8), image.affine)
    mask.set_sform(image.affine, code=1)
    header = image.header.copy()
    header.set_data_dtype(np.float32)
    return nibabel.Nifti1Image(signal, image.affine, header), mask


def template_places(
    brain: NDArray[np.bool_], affine: NDArray[np.float64], template: Template
) -> NDArray[np.float32]:
    """`(3, x, y, z)`: template voxels of a brain's voxels."""
    own = _ends(np.argwhere(brain) @ affine[:3, :3].T + affine[:3, 3])
    standard = np.argwhere(template.t1 > EDGE) @ template.affine[:3, :3].T + template.affine[:3, 3]
    target = _ends(standard)
    scale = (target[1] - target[0]) / (own[1] - own[0])
    grid = np.indices(brain.shape, dtype=np.float32)
    world = np.tensordot(affine[:3, :3].astype(np.float32), grid, axes=1)
    world += affine[:3, 3].astype(np.float32)[:, None, None, None]
    moved = (world - own[0][:, None, None, None]) * scale[:, None, None, None] + target[0][
        :, None, None, None
    ]
    return np.asarray(template.to_voxel(moved), dtype=np.float32)


def _ends(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The two percentiles along each axis, `(2, 3)`."""
    return np.asarray(np.percentile(points, ENDS, axis=0))
