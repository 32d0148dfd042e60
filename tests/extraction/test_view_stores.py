"""Stores of turned and mirrored slices beside the one of slices as they are, from one decoding."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

import slicecache
from aggregate.bags.views import require_view, stands_upright, view_of
from cache_schema.common.errors import SlicecacheError, StoreMismatch
from cache_schema.store.reader import open_store
from extract.recompute.recompute import recompute

STORES = {
    "main": {},
    "same": {"view": {"rotate_deg": 0}},
    "rot45": {"view": {"rotate_deg": 45}},
    "mirrored": {"view": {"flip": "columns"}},
    "other": {"view": {"flip": "columns"}, "normalise": "none"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("stores")
    for number in range(2):
        rng = np.random.default_rng(number)
        grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (31, 37, 9)), indexing="ij"))
        values = ((grid**2).sum(axis=0) < 0.6) * rng.uniform(50, 200, (31, 37, 9))
        nib.save(nib.Nifti1Image(values.astype(np.int16), np.diag([5, 5, 5, 1])), base / f"{number}.nii")
    (base / "volumes.tsv").write_text("participant_id\tpath\np0\t0.nii\np1\t1.nii\n")
    extract = {
        "input": {"manifest": "volumes.tsv"},
        "canvas": 28,
        "backbone": {"kind": "untrained", "size": "tiny"},
        "tokens": ["cls", "patches"],
        "dtype": "float32",
        "workers": 0,
        "stores": STORES,
    }
    data = {"run": {"folder": "run"}, "cache": {"store": "cache.zarr"}, "extract": extract}
    (base / "p.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    assert slicecache.guarded(slicecache.cli.main, ["extract", str(base / "p.yaml")]) == 0
    return base


def store(folder: Path, name: str):
    return open_store(folder / ("cache.zarr" if name == "main" else f"cache-{name}.zarr"))


def test_a_rotation_by_nothing_is_the_same_store(folder: Path) -> None:
    main, same, turned = (store(folder, name) for name in ("main", "same", "rot45"))
    assert main.header.fingerprint == same.header.fingerprint
    assert main.content_digest() == same.content_digest() != turned.content_digest()
    assert view_of(turned.header) == {"rotate_deg": 45.0, "about": "centre", "flip": None}
    assert view_of(main.header) == {}
    assert [stands_upright(store(folder, name).header) for name in STORES] == [True, True, False, True, True]


def test_a_view_is_known_by_what_it_shares(folder: Path) -> None:
    main, rot45, mirrored, other = (store(folder, name) for name in ("main", "rot45", "mirrored", "other"))
    require_view(main, rot45, "rot45", main.entries)
    require_view(mirrored, rot45, "rot45", main.entries)
    with pytest.raises(StoreMismatch, match=r"'other'.*no view.*normalise.*mean"):
        require_view(main, other, "other", main.entries)
    key = main.entries[0].key
    assert not np.array_equal(main.read_volume("patches", key), mirrored.read_volume("patches", key))
    swapped = mirrored.read_volume("foreground", key)[:, :, ::-1]
    np.testing.assert_array_equal(main.read_volume("foreground", key), swapped)


def test_a_turned_store_is_computed_again_from_its_images(folder: Path) -> None:
    assert recompute(str(folder / "cache-rot45.zarr"), 3).ok


def test_maps_are_not_made_on_slices_that_stand_askew(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "people.tsv").write_text("participant_id\tdx\np0\tcontrol\np1\tcontrol\n")
    data = yaml.safe_load((folder / "p.yaml").read_text())
    bank = {"kind": "memory_bank", "size": 50}
    detect = {"reference": {"column": "dx", "value": "control"}, "truth": "none",
              "split": {"fit": 0.5, "calibration": 0.5, "test": 0}}  # fmt: skip
    for own, message in (
        ({"store": "rot45"}, "are turned by 45.0 degrees"),
        ({"views": ["other"]}, "is no view of the slices"),
        ({"views": ["rot46"]}, "there is no store at"),
    ):
        data["aggregate"] = {"cohort": "people.tsv", "detect": {**detect, "detectors": [bank | own]}}
        (folder / "d.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
        assert slicecache.guarded(slicecache.cli.main, ["detect", str(folder / "d.yaml"), "--plan"]) == 2
        assert message in capsys.readouterr().err


def test_a_volume_that_a_view_lacks_is_named(folder: Path, tmp_path: Path) -> None:
    data = yaml.safe_load((folder / "p.yaml").read_text())
    (folder / "one.tsv").write_text("participant_id\tpath\np0\t0.nii\n")
    data["extract"]["input"]["manifest"] = "one.tsv"
    data["extract"] |= {"stores": {"main": {"view": {"rotate_deg": 90}}}}
    data["cache"]["store"] = str(tmp_path / "short.zarr")
    (folder / "short.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    assert slicecache.guarded(slicecache.cli.main, ["extract", str(folder / "short.yaml")]) == 0
    main, short = store(folder, "main"), open_store(tmp_path / "short.zarr")
    with pytest.raises(SlicecacheError, match="lacks 1 of the 2 volumes"):
        require_view(main, short, "short", main.entries)
