"""Steps of the preprocessing that cannot be, and volumes that do not fit the canvas that is asked for."""

from collections.abc import Callable

import nibabel as nib
import numpy as np
from odd_files import AFFINE, brain, save

from attacks.inputs import good_is_in, listed
from attacks.scene import Attack, Scene

SHORTER = "extract.canvas={kind: shorter, resize: 28, pixels: 28}"
CUT = "extract.canvas={kind: shorter, resize: 28, pixels: 28, unlike: cut_or_pad}"


def asked(*values: str) -> Callable[[Scene], list[str]]:
    """One good volume, and values set beside its pipeline."""

    def arrange(scene: Scene) -> list[str]:
        overrides = [part for value in values for part in ("--set", value)]
        return [*listed(scene, "good\tgood.nii"), *overrides]

    return arrange


def beside(shape: tuple[int, int, int], *values: str, small: bool = False) -> Callable[[Scene], list[str]]:
    """A good volume and one of another shape; `small`: of few bytes, whatever its shape."""

    def arrange(scene: Scene) -> list[str]:
        if small:
            flat = np.zeros(shape, np.uint8)
            flat[:, shape[1] // 4 : shape[1] // 2] = 100
            nib.save(nib.Nifti1Image(flat, AFFINE), scene.folder / "odd.nii")
        else:
            save(scene.folder / "odd.nii", brain(1, shape))
        overrides = [part for value in values for part in ("--set", value)]
        return [*listed(scene, "good\tgood.nii", "odd\todd.nii"), *overrides]

    return arrange


ATTACKS = [
    Attack(
        "slices of another ratio than the canvas",
        "extract",
        beside((21, 40, 15), SHORTER),
        r"slices of 40 x 21 come out at 42 x 28 pixels and the canvas is 28 x 28.*pixels to \[42, 28\]",
        code=1,
        check=good_is_in,
    ),
    Attack(
        "slices of one row that are 30,000 wide",
        "extract",
        beside((1, 30000, 2), CUT, small=True),
        r"would be resized to .* at most 16384",
        code=1,
        check=good_is_in,
    ),
    Attack(
        "a volume so small that mst sees padding alone",
        "extract",
        beside((9, 9, 9), "extract.preset=mst", "extract.canvas=56"),
        r"is this a mask or a label image",
        code=1,
        check=good_is_in,
    ),
    Attack("a canvas of no whole patches along one side", "extract",
           asked("extract.canvas=[28, 30]"), r"30 px must be a multiple of the backbone's patch of 14"),
    Attack("a canvas of three sides", "extract", asked("extract.canvas=[28, 28, 28]"), r"extract\.canvas"),
    Attack("a canvas beyond any memory", "extract", asked("extract.canvas=[28, 1000000000]"),
           r"extract\.canvas"),
    Attack("a shorter side that its pixels cannot come of", "extract",
           asked("extract.preset=dpmm", "extract.canvas=[448, 500]"), r"shorter side of pixels must be 448"),
    Attack("a z-score over a canvas that is resampled", "extract",
           asked("extract.intensity={kind: zscore, over: canvas}"), r"needs one of voxels"),
    Attack("a window whose ends changed places", "extract",
           asked("extract.intensity={kind: window, low: 1000, high: -1000}"), r"does not increase"),
    Attack("a window that ends at infinity", "extract",
           asked("extract.intensity={kind: window, low: 0, high: .inf}"), r"extract\.intensity"),
    Attack("a kernel that neither Pillow nor torch has", "extract",
           asked("extract.canvas={kind: stretch, filter: lanczos}"), r"not 'lanczos'"),
    Attack("the backbone's own normalisation, of a backbone that has none", "extract",
           asked("extract.normalise=model"), r"needs a backbone that says how its pixels are normalised"),
    Attack("the canvas that a checkpoint states, of a backbone that has none", "extract",
           asked("extract.canvas=model"), r"canvas: model needs a backbone whose checkpoint states"),
    Attack("a thousand million slices of padding", "extract",
           asked("extract.slices={kind: crop_or_pad, n: 1000000000}"), r"extract\.slices"),
]  # fmt: skip
