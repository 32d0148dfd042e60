"""One volume to tokens in memory, by the same steps as `extract`, writing nothing."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from cache_schema.common.errors import ConfigError
from cache_schema.common.pipeline_file import validate
from cache_schema.format.header import Fingerprint
from cache_schema.format.identity import VolumeKey
from cache_schema.format.plane import FROM_POLE
from cache_schema.format.record import Geometry, VolumeDraft
from extract.arithmetic.arithmetic import Arithmetic, place_by
from extract.engines.device import choose_device, this_machine
from extract.engines.embed import CPU_BLOCK, Embedder
from extract.engines.header import make_header
from extract.planning.config import EmbeddingOptions
from extract.planning.stated import with_stated_canvas
from extract.slices.prepare import PreparedVolume, prepare_volume, prepare_voxels
from extract.slices.preprocessing import Preprocessing
from extract.sources.candidate import Candidate, contrast_of, entities_of
from extract.sources.cells import located_file, name_of, split_dataset
from extract.volume.read import mask_of_image, read_foreground_mask, voxels_of_image

VolumeLike: TypeAlias = str | Path | SpatialImage | NDArray[Any]
"""A file (`scans.h5:/dataset` too), an image of nibabel, or an array with its affine beside it."""


@dataclass(frozen=True, slots=True)
class Embedding:
    """The tokens of one volume, slices from low to high.

    Example:
        >>> found = sc.embed("sub-01_T1w.nii.gz")
        >>> found["patch_mean"].shape, found.fingerprint.digest
    """

    arrays: dict[str, NDArray[np.float32]]
    """By name, as in a store: `cls` and `patch_mean` `(slice, dim)`, `patches` `(slice, row, col, dim)`."""
    record: VolumeDraft
    """What a store's record would say of it: source, geometry, slices, foreground, warnings."""
    fingerprint: Fingerprint
    """Of a store that was made the same way."""
    preview: bytes
    """PNG: slices as the backbone saw them."""

    @property
    def height_mm(self) -> NDArray[np.float64]:
        """Millimetres below the vertex, `(slice,)`; of another plane, from its own pole."""
        return np.asarray(self.record.slices.height_mm)

    @property
    def geometry(self) -> Geometry:
        """The way back to native voxels."""
        return self.record.geometry

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        return self.arrays[name]

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {values.shape}" for name, values in self.arrays.items())
        plane = self.fingerprint.plane
        low, high = self.height_mm.max(), self.height_mm.min()
        return f"<Embedding of {self.record.key}: {shapes}; {low:.0f} to {high:.0f} mm {FROM_POLE[plane]}>"

    def _repr_png_(self) -> bytes:
        """Notebooks show the slices."""
        return self.preview


def embed(
    volume: VolumeLike,
    *,
    backbone: Any = None,
    preset: str = "letterbox",
    slices: Any = None,
    tokens: Any = ("patch_mean",),
    affine: NDArray[Any] | None = None,
    foreground: VolumeLike | None = None,
    device: str = "auto",
    **options: Any,
) -> Embedding:
    """Embed one volume; for many, `extract` decodes ahead and keeps what is done.

    Args:
        volume: A file, an image of nibabel, or an array `(i, j, k)` with its `affine`.
        backbone: As in a pipeline file, e.g. `{"kind": "untrained"}`, or a class or object of your own;
            DINOv2 small by default.
        preset: Named preprocessing.
        slices: A slice rule as in a pipeline file, e.g. `{"kind": "every", "step_mm": 4}`.
        tokens: Arrays that are kept; `cls` always is where the backbone has one.
        affine: Voxel indices to world mm (RAS+), 4x4; for an array, and only for one.
        foreground: A mask on the volume's grid: a file, an image or an array.
        device: `auto`, `cpu`, `cuda` or `mps`.
        **options: Further keys of the `extract` section that say how, e.g. `canvas=448`, `engine="openvino"`;
            of one volume `auto` is float32 by torch, and nothing is measured.

    Returns:
        The tokens, equal to those of a store but for its rounding.

    Raises:
        ConfigError: For a mistake in what was asked.
        VolumeError: If the volume cannot be used.

    Example:
        >>> found = sc.embed("sub-01_T1w.nii.gz", backbone={"kind": "untrained", "size": "tiny"})
        >>> found["cls"].shape, found.height_mm
        >>> sc.embed(array, affine=affine, slices={"kind": "every", "step_mm": 4})
    """
    given = {"preset": preset, "slices": slices, "tokens": tokens, "device": device, **options}
    asked = validate(
        EmbeddingOptions, given if backbone is None else {**given, "backbone": backbone}, "embed"
    )
    asked = with_stated_canvas(asked, Path.cwd())
    return _embedded(prepare_given(volume, affine, foreground, asked.preprocessing), asked)


def _embedded(prepared: PreparedVolume, asked: EmbeddingOptions) -> Embedding:
    """Build the backbone and embed the slices."""
    preprocessing, machine = asked.preprocessing, this_machine()
    device = choose_device(asked.asked_device, machine)
    # To measure what is fastest takes longer than one volume: float32 by torch, unless another is named.
    arithmetic = Arithmetic(
        "torch" if asked.engine == "auto" else asked.engine,
        "float32" if asked.dtype == "auto" else asked.dtype,
    )
    backbone = place_by(
        arithmetic, partial(asked.build_backbone, Path.cwd(), device), asked.preprocessing.pixels, CPU_BLOCK
    )
    preprocessing = preprocessing.for_backbone(backbone.normalised)
    header = make_header(
        backbone,
        preprocessing,
        tokens=asked.tokens,
        compute=arithmetic.compute,
        engine=arithmetic.engine,
        storage="float32",
        slice_chunk=len(prepared.images),
        created={},
    )
    names = frozenset(spec.name for spec in header.arrays)
    embedder = Embedder(backbone, device, names, asked.batch_size, preprocessing.mean, preprocessing.std)
    (made,) = [*embedder.add(prepared), *embedder.flush()]
    arrays = {name: made.arrays[name] for name in sorted(made.arrays)}
    return Embedding(arrays, made.draft, header.fingerprint, made.preview())


def prepare_given(
    volume: VolumeLike,
    affine: NDArray[Any] | None,
    foreground: VolumeLike | None,
    preprocessing: Preprocessing,
) -> PreparedVolume:
    """Slice images of a volume, wherever it is.

    Raises:
        ConfigError: If an array has no affine, or anything else has one.
        VolumeError: If the volume or the mask cannot be used.
    """
    if isinstance(volume, np.ndarray) != (affine is not None):
        raise ConfigError(
            "an array needs `affine` (voxel indices to world mm, 4x4), and nothing else takes it"
        )
    if isinstance(volume, str | Path):
        candidate = candidate_of_file(volume, foreground if isinstance(foreground, str | Path) else None)
        if foreground is None or candidate.foreground_path is not None:
            return prepare_volume(candidate, preprocessing)
        raise ConfigError(
            "the foreground of a file is a file too; open the volume with nibabel to give an image"
        )
    candidate = Candidate(VolumeKey("volume", "", "volume"), Path(), "memory", entities_of({}, ""))
    image = volume if affine is None else SpatialImage(volume, np.asarray(affine, dtype=np.float64))
    voxels = voxels_of_image(
        image,
        candidate,
        allow_unknown_orientation=preprocessing.allow_unknown_orientation,
        dtype=preprocessing.read_dtype,
    )
    mask = None
    if isinstance(foreground, str | Path):
        mask = read_foreground_mask(Path(foreground), candidate, voxels.facts)
    elif foreground is not None:
        on_grid = isinstance(foreground, np.ndarray)
        image = SpatialImage(foreground, voxels.facts.affine) if on_grid else foreground
        mask = mask_of_image(image, "the foreground mask", candidate, voxels.facts)
    return prepare_voxels(candidate, voxels, mask, preprocessing)


def candidate_of_file(volume: str | Path, foreground: str | Path | None) -> Candidate:
    """A file by its own name, with the dataset inside it where it is HDF5."""
    file, dataset = split_dataset(str(volume))
    path = located_file(file, Path.cwd())
    name = name_of(path, dataset)
    return Candidate(
        key=VolumeKey(name, "", name),
        path=path,
        source=path.name + (f":{dataset}" if dataset else ""),
        entities=entities_of({}, contrast_of(name)),
        foreground_path=None if foreground is None else located_file(str(foreground), Path.cwd()),
        dataset=dataset,
    )
