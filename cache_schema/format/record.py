"""The commit record of one volume: written after its data, and the only proof that it is there."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field

from cache_schema.common.strict import Strict, later
from cache_schema.format.canonical import sha256_json
from cache_schema.format.header import Numerics
from cache_schema.format.identity import VolumeKey
from cache_schema.format.inputs import Inputs
from cache_schema.format.limits import MAX_EXTENT, Row, SliceCount, SliceIndex, Whole

ForegroundKind = Literal["mask", "stripped", "head"]
Matrix3x4 = Annotated[tuple[tuple[float, float, float, float], ...], Field(min_length=3, max_length=3)]
Matrix4x4 = Annotated[tuple[tuple[float, float, float, float], ...], Field(min_length=4, max_length=4)]
PerSlice = Field(max_length=MAX_EXTENT)


class SourceFile(Strict):
    """The file that a volume came from."""

    path: str
    """Relative to the input root, or `sha256:<digest of the absolute path>` when outside it."""
    bytes: Whole
    mtime_ns: Whole
    sha256: str


class Entities(Strict):
    """What stage two may select by."""

    contrast: str = ""
    run: str = ""
    acquisition: str = ""
    space: str = ""
    description: str = ""


class Geometry(Strict):
    """Everything that is needed to put a token back into native voxels.

    `canvas_to_native` is a 3x4 matrix from `(row, col, slice index, 1)` on the canvas to native voxel
    indices `(i, j, k)`; pixel centres are integers on both sides, and the slice index counts along the
    sliced axis of the oriented (RAS+) volume, as in `slice_index`.
    """

    native_shape: tuple[SliceCount, SliceCount, SliceCount]
    affine: Matrix4x4
    """Native voxel to world (RAS+ mm), 4x4."""
    orientation: str
    """Axis codes of the native array, e.g. `PSR`; `unknown` if neither qform nor sform says."""
    spacing_mm: tuple[float, float, float]
    """Voxel size along the native axes."""
    oblique_degrees: float
    canvas: tuple[SliceCount, SliceCount]
    pixel_mm: tuple[float, float]
    """Millimetres per canvas pixel along row and column."""
    canvas_to_native: Matrix3x4
    outside_field: float
    """Share of the kept slices' foreground that the canvas does not show."""


class Slices(Strict):
    """The kept slices, in order from low to high along the plane's normal (see `format.plane`)."""

    index: tuple[SliceIndex, ...] = PerSlice
    """Along the sliced axis of the oriented volume; below 0, or from `n_volume` on, for a slice of padding,
    which is no part of the volume: of the background's grey, and what a published system feeds as a slice."""
    height_mm: tuple[float, ...] = PerSlice
    """Millimetres from the pole at the upper end of the normal: below the vertex, of an axial store."""
    world_z_mm: tuple[float, ...] = PerSlice
    """World coordinate of the slice's centre along the normal: z, of an axial store."""
    n_volume: SliceCount
    """Slices of the whole volume along that axis."""
    spacing_mm: float
    """Distance of neighbouring slices of the volume."""

    @property
    def scanned_mm(self) -> tuple[float, ...]:
        """Heights of the kept slices that the volume has, without padding."""
        pairs = zip(self.index, self.height_mm, strict=True)
        return tuple(height for index, height in pairs if 0 <= index < self.n_volume)


class UsedForeground(Strict):
    """Which foreground was used, and how large it is."""

    kind: ForegroundKind
    millilitres: float
    nan_voxels: Whole = 0
    """Non-finite voxels that were set to background."""


class VolumeDraft(Strict):
    """What stage one knows of a volume before its arrays are written."""

    participant_id: str
    session_id: str
    volume_id: str
    entities: Entities
    source: SourceFile
    geometry: Geometry
    slices: Slices
    foreground: UsedForeground
    intensity_quantiles: dict[str, float]
    """Native intensities inside the foreground, by quantile name (`q0.5` is the 0.5th percentile)."""
    warnings: tuple[str, ...] = ()
    empty_patch_slices: SliceCount = 0
    """Kept slices without a foreground patch, whose `patch_mean` is over all patches."""
    seconds: dict[str, float] = Field(default_factory=dict)
    """Time per stage: read, prepare, embed, write; and `waiting`, the device's for this volume."""
    processor: str = later("", max_length=200)
    """Kind of processor that embedded it, and its widest instructions: on one kind bits are equal."""
    inputs: Inputs | None = later(None)
    """Everything that shaped the numbers; none in records from before it was kept, or without files."""

    @property
    def key(self) -> VolumeKey:
        """The volume's key."""
        return VolumeKey(self.participant_id, self.session_id, self.volume_id)


Crc32c = Annotated[int, Field(ge=0, lt=2**32)]


class ArrayProof(Strict):
    """What one array's kept bytes come to, each value seeded with who they belong to (see SPEC.md)."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    crc32c: Crc32c
    block_slices: int = later(0, ge=0)
    """Slices in a block; 0 where the whole volume is one."""
    blocks: tuple[Crc32c, ...] = later(())
    """crc32c of each block, where there are several: some slices are proven without reading the others."""


class VolumeRecord(VolumeDraft):
    """A draft, the row, the digest of the written numbers, and a hash over all of it."""

    row: Row
    tokens: dict[str, dict[str, float]]
    """By array: mean, standard deviation, smallest and largest token norm."""
    arrays: dict[str, ArrayProof] = later({})
    """By array: what its kept bytes come to; none in records of before."""
    digest: str
    """Volume digest: over the key and every array's kept numbers (see SPEC.md)."""
    numerics: Numerics | None = later(None)
    """With which arithmetic this volume was computed, where it is not the header's; one of the header's
    `other_numerics`."""
    sha256: str = ""
    """Hash of this record without this field."""

    def self_hash(self) -> str:
        """SHA-256 of the record without its own hash."""
        return sha256_json(self.model_dump(mode="json", exclude={"sha256"}))

    def signed(self) -> Self:
        """A copy that carries its own hash."""
        return self.model_copy(update={"sha256": self.self_hash()})


class Failure(Strict):
    """Why one volume could not be embedded."""

    participant_id: str
    session_id: str
    volume_id: str
    path: str
    reason: str
    when: str = ""
    provenance: dict[str, Any] = Field(default_factory=dict)

    @property
    def key(self) -> VolumeKey:
        """The volume's key."""
        return VolumeKey(self.participant_id, self.session_id, self.volume_id)


class TableRow(Strict):
    """One row of the append-only volume table: a volume's place for life."""

    participant_id: str
    session_id: str
    volume_id: str
    path: str
    """As in `SourceFile.path`."""
    max_slices: SliceCount
    """Upper bound of slices, from the file's header at planning."""

    @property
    def key(self) -> VolumeKey:
        """The volume's key."""
        return VolumeKey(self.participant_id, self.session_id, self.volume_id)
