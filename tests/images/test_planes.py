"""Coronal and sagittal slices: how an image lies, where heights are counted from, what of it is stored."""

import itertools
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
import yaml
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform
from PIL import Image

import slicecache as sc
from cache_schema.common.errors import ConfigError, StoreMismatch
from cache_schema.format.identity import VolumeKey
from cache_schema.format.plane import NORMAL
from cache_schema.format.record import Entities
from cache_schema.store.reader import open_store
from extract.engines.on_device import canvas_images
from extract.recompute.recompute import recompute
from extract.slices.canvas import FieldCanvas
from extract.slices.intensity import Percentile
from extract.slices.prepare import PreparedVolume, prepare_volume
from extract.slices.preprocessing import StepOverrides
from extract.slices.presets import preprocessing_of
from extract.slices.preview import column_sides
from extract.sources.candidate import Candidate
from extract.volume.orient import OrientSpec, as_stack, stack_spacing, stack_to_native

PLANES = ("axial", "coronal", "sagittal")
CORNERS = {"".join(corner): float(1 + n) for n, corner in enumerate(itertools.product("LR", "PA", "IS"))}
"""Label of each corner of a volume by where it lies."""
LIES = {
    # The corner that (slice, row, column) are 0 at, and the one where all of them end.
    "axial": ("IAL", "SPR"),
    "coronal": ("PSL", "AIR"),
    "sagittal": ("LSA", "RIP"),
}
CODES = ["RAS", "LPS", "PSR", "ASL", "IPR", "SRA"]
SPACING = (1.5, 2.5, 3.5)
SHAPE = (40, 36, 30)
"""In RAS: 60 x 90 x 105 mm."""


def labelled(codes: str) -> tuple[np.ndarray, np.ndarray]:
    """A volume of unequal sides and spacing whose corners are labelled, stored in the axis order `codes`."""
    ras = np.zeros((5, 7, 11), dtype=np.float32)
    for name, value in CORNERS.items():
        ras[tuple(0 if letter in "LPI" else -1 for letter in name)] = value
    ornt = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    return apply_orientation(ras, ornt), np.diag([*SPACING, 1.0]) @ inv_ornt_aff(ornt, ras.shape)


def corner(letters: str) -> float:
    """The label of a corner, however its letters are ordered."""
    return next(value for name, value in CORNERS.items() if sorted(name) == sorted(letters))


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("codes", CODES)
def test_corners_lie_where_the_convention_says(plane, codes):
    data, affine = labelled(codes)
    sizes = tuple(np.sqrt((affine[:3, :3] ** 2).sum(axis=0)))
    matrix = stack_to_native(affine, data.shape, OrientSpec(), plane)
    stack = as_stack(data, matrix)
    first, last = LIES[plane]
    for places in itertools.product((0, -1), repeat=3):
        letters = "".join((first, last)[-place][axis] for axis, place in enumerate(places))
        assert stack[places] == corner(letters)
    normal = NORMAL[plane]
    assert stack.shape[0] == (5, 7, 11)[normal]
    assert stack_spacing(matrix, sizes)[0] == pytest.approx(SPACING[normal])
    assert np.shares_memory(stack, data)
    index = [1, 2, 3]  # row, column, slice
    native = (matrix @ [*index, 1])[:3].astype(int)
    assert data[tuple(native)] == stack[3, 1, 2]


def block(folder: Path, codes: str = "RAS", neck_mm: float = 0.0, seed: int = 0) -> Path:
    """A box of 45 x 60 x 70 mm with a bright spot in a black volume, and a neck below it."""
    world = np.stack(
        np.meshgrid(*(np.arange(n) * s for n, s in zip(SHAPE, SPACING, strict=True)), indexing="ij")
    )
    low, high = np.array([6.0, 10.0, 28.0]), np.array([51.0, 70.0, 98.0])
    inside = ((world >= low[:, None, None, None]) & (world <= high[:, None, None, None])).all(axis=0)
    neck = (world[0] >= 15) & (world[0] <= 42) & (world[1] >= 20) & (world[1] <= 40)
    inside |= neck & (world[2] < 28) & (world[2] >= 28 - neck_mm)
    rng = np.random.default_rng(seed)
    values = inside * rng.uniform(80, 120, inside.shape)
    spot = (np.abs(world - np.array([12.0, 60.0, 87.5])[:, None, None, None]) <= 4).all(axis=0)
    values = np.where(spot, 1000.0, values).astype(np.float32)
    ornt = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    affine = np.diag([*SPACING, 1.0]) @ inv_ornt_aff(ornt, values.shape)
    path = folder / f"{codes}.nii.gz"
    nibabel.save(nibabel.Nifti1Image(apply_orientation(values, ornt), affine), path)
    return path


def prepared(path: Path, **steps) -> PreparedVolume:
    candidate = Candidate(VolumeKey("p", "", "T1w"), path, path.name, Entities())
    return prepare_volume(candidate, preprocessing_of("letterbox", StepOverrides(**steps)))


@pytest.mark.parametrize(
    ("plane", "top", "bottom"), [("axial", 98.0, 28.0), ("coronal", 70.0, 10.0), ("sagittal", 51.0, 6.0)]
)
@pytest.mark.parametrize("codes", CODES)
def test_heights_are_counted_back_from_the_pole(tmp_path, codes, plane, top, bottom):
    slices = prepared(block(tmp_path, codes), plane=plane).draft.slices
    assert slices.height_mm[-1] == 0.0
    assert slices.spacing_mm == pytest.approx(SPACING[NORMAL[plane]])
    assert slices.n_volume == SHAPE[NORMAL[plane]]
    assert np.allclose(np.array(slices.height_mm) + slices.world_z_mm, slices.world_z_mm[-1])
    assert top - SPACING[NORMAL[plane]] < slices.world_z_mm[-1] <= top
    assert bottom <= slices.world_z_mm[0] < bottom + SPACING[NORMAL[plane]]


@pytest.mark.parametrize("plane", ["coronal", "sagittal"])
@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ({"kind": "center", "n": 5}, lambda h: len(h) == 5 and abs(h.mean() - h.max() / 2) < 60),
        ({"kind": "uniform", "n": 4}, lambda h: len(h) == 4 and np.ptp(h) > 20),
        ({"kind": "every", "step_mm": 10}, lambda h: h[-1] == 0 and np.allclose(np.diff(h), -10, atol=3)),
        ({"kind": "band", "from_vertex_mm": [10, 30]}, lambda h: h.min() >= 10 and h.max() <= 30),
        ({"kind": "all"}, lambda h: h.min() < 0),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_slice_rules_hold_along_the_normal(tmp_path, plane, rule, kept):
    heights = np.array(prepared(block(tmp_path), plane=plane, slices=rule).draft.slices.height_mm)
    assert kept(heights)
    assert (np.diff(heights) < 0).all()  # from low to high


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("codes", CODES)
def test_a_pixel_is_a_length_and_leads_back_to_its_voxel(tmp_path, codes, plane):
    path = block(tmp_path, codes)
    whole = Percentile(low=0, high=100)
    made = prepared(path, plane=plane, canvas=FieldCanvas(field_mm=112.0, pixels=112), intensity=whole)
    grey = canvas_images(made, torch.device("cpu")).numpy()
    geometry = made.draft.geometry
    assert geometry.pixel_mm == pytest.approx((1.0, 1.0))
    index, row, column = (axis.mean() for axis in np.nonzero(grey > 0.6))
    place = [row, column, np.interp(index, range(len(grey)), made.draft.slices.index), 1]
    voxel = np.asarray(geometry.canvas_to_native) @ place
    world = nibabel.load(path).affine @ [*voxel, 1]
    np.testing.assert_allclose(world[:3], [12.0, 60.0, 87.5], atol=1.8)
    # up on the image is up in the body (or forwards), and column 0 is the left (or the front)
    assert row < 56
    assert column < 56
    sides = {"axial": ("L", "R"), "coronal": ("L", "R"), "sagittal": ("A", "P")}
    assert column_sides(geometry) == sides[plane]


def test_one_volume_has_one_foreground_whatever_the_plane(tmp_path):
    path = block(tmp_path)
    found = [prepared(path, plane=plane).draft for plane in PLANES]
    assert len({draft.foreground for draft in found}) == 1
    assert len({tuple(draft.intensity_quantiles.items()) for draft in found}) == 1


@pytest.mark.parametrize("plane", ["coronal", "sagittal"])
def test_a_neck_does_not_pull_the_field(tmp_path, plane):
    """Rows are centred on what lies within `centre_depth_mm` below the vertex, as axial fields are."""
    canvas = FieldCanvas(field_mm=112.0, pixels=112, centre_depth_mm=50.0)
    rows = []
    for neck in (0.0, 28.0):
        made = prepared(block(tmp_path, neck_mm=neck), plane=plane, canvas=canvas)
        rows.append(np.asarray(made.draft.geometry.canvas_to_native)[2, [0, 3]])
    np.testing.assert_allclose(*rows, atol=1e-6)


BACKBONE = {"kind": "untrained", "size": "tiny"}
STORES = {"axial": {}, "coronal": {"plane": "coronal"}, "sagittal": {"plane": "sagittal"}}


@pytest.fixture
def study(tmp_path) -> Path:
    """Twelve blocks, half of them called patients, and a study over planes in one line."""
    rows = ["participant_id\tpath\tdx"]
    for n, codes in enumerate(CODES * 2):
        (tmp_path / str(n)).mkdir()
        path = block(tmp_path / str(n), codes, seed=n)
        rows.append(f"{n}\t{path}\t{'patient' if n % 2 else 'control'}")
    (tmp_path / "v.tsv").write_text("\n".join(rows) + "\n")
    tokens = [f"{plane}:cls" for plane in PLANES]
    aggregate = {
        "cohort": "v.tsv",
        "target": "dx",
        "folds": {"n": 2},
        "train": {"epochs": 2},
        "baselines": ["mean_pool_logistic"],
        "ablate": {
            "configurations": {"mean": {"head.kind": "mean"}},
            "grid": {"tokens": tokens},
            "repeats": 1,
        },
    }
    extract = {
        "input": {"manifest": "v.tsv"},
        "canvas": 28,
        "slices": {"kind": "uniform", "n": 3},
        "backbone": BACKBONE,
        "dtype": "float32",
        "workers": 0,
        "stores": STORES,
    }
    data = {
        "run": {"folder": "run"},
        "cache": {"store": "c.zarr"},
        "extract": extract,
        "aggregate": aggregate,
    }
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return tmp_path


def command(*arguments) -> int:
    return sc.guarded(sc.cli.main, list(map(str, arguments)))


def test_a_study_over_planes_is_one_line(study):
    assert command("extract", study / "p.yaml") == 0
    stores = {
        plane: open_store(study / ("c.zarr" if plane == "axial" else f"c-{plane}.zarr")) for plane in PLANES
    }
    assert {plane: store.header.fingerprint.plane for plane, store in stores.items()} == {
        p: p for p in PLANES
    }
    assert len({store.header.fingerprint.digest for store in stores.values()}) == 3
    for store in stores.values():
        assert recompute(store.location, 3, 0).ok
    how = {"canvas": 28, "backbone": BACKBONE, "dtype": "float32", "workers": 0, "plane": "sagittal"}
    rule = {"kind": "uniform", "n": 3}
    with pytest.raises(StoreMismatch, match="plane is 'sagittal' here and 'coronal' there"):
        sc.extract(store=stores["coronal"].location, input={"manifest": study / "v.tsv"}, slices=rule, **how)
    key = stores["coronal"].entries[0].key
    picture = stores["coronal"].preview(key)
    assert picture is not None
    assert command("ablate", study / "p.yaml") == 0
    assert "coronal:cls" in (study / "run" / "ablate" / "ablation.csv").read_text()
    assert command("train", study / "p.yaml", "--set", "aggregate.tokens=sagittal:cls") == 0
    found = sc.predict(study / "run", sc.Images(study / "v.tsv", study / "again.zarr", workers=0))
    assert len(found) == 12
    again = open_store(study / "again.zarr")
    assert again.header.fingerprint == stores["sagittal"].header.fingerprint
    np.testing.assert_array_equal(again.read_volume("cls", key), stores["sagittal"].read_volume("cls", key))
    page = (study / "run" / "train" / "report.html").read_text()
    assert "mm left of the right pole" in page
    assert "superior on top, anterior on the left side" in page
    assert "vertex" not in page


def test_stored_axes_have_no_plane(tmp_path):
    with pytest.raises(ConfigError, match=r"extract\.plane: coronal is cut by the affine"):
        preprocessing_of("dinoatten3d_released", StepOverrides(plane="coronal"))
    assert preprocessing_of("dinoatten3d_released", StepOverrides(plane="axial")).plane == "axial"


@pytest.mark.slow
def test_real_volumes_lie_as_radiologists_would_have_them_looked_at(shared_data):
    """The brain's own asymmetry says it: longest from front to back, flat below, narrow at the poles."""
    path = next((shared_data / "ds002748-native").glob("sub-*/anat/*.nii.gz"))
    shown = {}
    for plane in PLANES:
        made = prepared(path, plane=plane, slices={"kind": "center", "n": 1})
        grey = canvas_images(made, torch.device("cpu")).numpy()[0] > 0.1
        shown[plane] = [np.ptp(np.nonzero(grey.any(axis=axis))[0]) for axis in (1, 0)]
        assert made.draft.geometry.outside_field == 0
        assert isinstance(Image.fromarray(grey), Image.Image)
    height, width, length = shown["coronal"][0], shown["coronal"][1], shown["sagittal"][1]
    assert abs(shown["axial"][0] - length) < 25  # rows of axial run from front to back
    assert abs(shown["axial"][1] - width) < 25
    assert length > width
    assert length > height
