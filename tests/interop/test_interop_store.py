"""A store as AnnData, xarray and Hugging Face read it: the same numbers, names and hashes, in every form."""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from attacks.scene import run
from made_up_store import example_arrays, example_draft, example_header, example_row

import slicecache as sc
from aggregate.api.store import Store
from cache_schema.format.identity import VolumeKey
from cache_schema.move.export import export_store
from cache_schema.store.reader import StoreReader, open_store
from cache_schema.store.writer import StoreWriter

LENGTHS = (3, 7, 2, 5)
HOSTILE = ("../x", "a\nb", "é" * 300, "=1+1|\U0001f9e0 '\"")
Make = Callable[[Sequence[Any]], StoreReader]


@pytest.fixture
def location(make_store: Make, scan: type, tmp_path: Path) -> str:
    """Four volumes of three participants, and a table of two of them."""
    people = ("a", "b", "b", "c")
    scans = [scan(p, f"{i}", n_slices=n) for i, (p, n) in enumerate(zip(people, LENGTHS, strict=True))]
    rows = ["participant_id\tage\tsex/at birth\tcls", "sub-a\t61.5\tF\tx", "sub-b\tn/a\tn/a\ty"]
    (tmp_path / "people.tsv").write_text("\n".join(rows) + "\n")
    return make_store(scans).location


@pytest.fixture(params=["zarr", "zip", "h5"])
def store(request: pytest.FixtureRequest, location: str, tmp_path: Path) -> Store:
    if request.param == "h5":
        export_store(location, str(tmp_path / "store.h5"))
        return sc.open(tmp_path / "store.h5")
    if request.param == "zip":
        return sc.open(shutil.make_archive(str(tmp_path / "store"), "zip", location))
    return sc.open(location)


def own(store: Store, name: str) -> list[Any]:
    """Kept slices of every volume, float32."""
    return [store.reader.read_volume(name, entry.key).astype(np.float32) for entry in store.reader.entries]


def make_one(location: Path, keys: Sequence[VolumeKey], tokens: Sequence[str], **header: Any) -> str:
    made = example_header(tokens, **header)
    writer = StoreWriter.open(str(location), made, [example_row(key, 4) for key in keys])
    for seed, key in enumerate(keys):
        writer.commit(example_draft(key, 2 + seed % 3), example_arrays(made, 2 + seed % 3, seed))
    return str(location)


def test_anndata_with_a_row_per_slice(store: Store, tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata")
    made = sc.export(store.location, tmp_path / "s.h5ad", rows="slice", cohort=tmp_path / "people.tsv")
    assert made.n_volumes == 4
    assert made.notes == ("1 of 4 volumes have no row in people.tsv",)
    found = anndata.read_h5ad(made.location)
    np.testing.assert_array_equal(found.X, np.concatenate(own(store, "cls")))
    np.testing.assert_array_equal(found.obsm["patch_mean"], np.concatenate(own(store, "patch_mean")))
    assert found.obs["participant_id"].tolist() == ["a"] * 3 + ["b"] * 9 + ["c"] * 5
    heights = np.concatenate([list(heights) for heights in store.records["slices.height_mm"]])
    np.testing.assert_array_equal(found.obs["height_mm"], heights)
    assert found.obs_names.is_unique
    assert found.obs_names[0] == "a/0/T1w/2"
    age, sex = found.obs["age"], found.obs["sex_at_birth"]
    assert age[:3].tolist() == [61.5] * 3
    assert age[3:].isna().all()
    assert sex[:3].tolist() == ["F"] * 3
    assert sex[3:].isna().all()
    assert found.obs["cls_of_table"].tolist()[3] == "y"
    assert found.uns["fingerprint"] == store.fingerprint
    assert found.uns["content_digest"] == store.reader.content_digest()
    assert "command" not in json.loads(found.uns["provenance"]), "the command names paths"


def test_anndata_with_a_row_per_volume_is_the_mean_of_its_slices(store: Store) -> None:
    pytest.importorskip("anndata")
    found = store.to_anndata()
    np.testing.assert_array_equal(found.X, np.stack([values.mean(0) for values in own(store, "cls")]))
    assert found.obs["n_slices"].tolist() == list(LENGTHS)
    assert store.to_anndata(["patch_mean"]).obsm == {}


def test_netcdf_says_which_slices_are_real(store: Store, tmp_path: Path) -> None:
    xarray, _ = pytest.importorskip("xarray"), pytest.importorskip("h5netcdf")
    sc.export(store.location, tmp_path / "s.nc", cohort=tmp_path / "people.tsv")
    with xarray.open_dataset(tmp_path / "s.nc", engine="h5netcdf") as found:
        assert dict(found.sizes) == {"volume": 4, "slice": 7, "dim": 7}
        assert found["keep"].dtype == bool
        assert found["keep"].sum("slice").values.tolist() == list(LENGTHS)
        for name in ("cls", "patch_mean"):
            padded = store.tokens(name).x.astype(np.float32)
            np.testing.assert_array_equal(found[name].values, padded)
        assert found["participant_id"].values.tolist() == ["a", "b", "b", "c"]
        assert found["age"].values.tolist()[0] == 61.5
        assert set(found.data_vars) == {"cls", "patch_mean"}
        assert found.attrs["fingerprint"] == store.fingerprint
        assert found["height_mm"].values[2, :2].tolist() == [2.0, 0.0]


def test_xarray_takes_the_table_along(location: str, tmp_path: Path) -> None:
    pytest.importorskip("xarray")
    found = sc.open(location).to_xarray(cohort=tmp_path / "people.tsv")
    assert found["age"].values.tolist()[0] == 61.5
    assert found["sex_at_birth"].dims == ("volume",)


def test_hugging_face_dataset_and_its_card(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    refuse_network(monkeypatch)
    sc.export(store.location, tmp_path / "hf", "huggingface", cohort=tmp_path / "people.tsv")
    rows = datasets.load_from_disk(str(tmp_path / "hf")).with_format("numpy")
    assert len(rows) == 4
    for place, name in ((1, "cls"), (2, "patch_mean")):
        np.testing.assert_array_equal(rows[place][name], own(store, name)[place])
    assert rows[1]["height_mm"].tolist() == list(store.records["slices.height_mm"][1])
    assert rows[0]["sex_at_birth"] == "F"
    plain = datasets.load_from_disk(str(tmp_path / "hf"))
    assert (plain[1]["age"], plain[3]["sex_at_birth"]) == (None, None)
    text = (tmp_path / "hf" / "README.md").read_text()
    _, header, body = text.split("---\n", 2)
    assert yaml.safe_load(header)["license"] == "TO BE FILLED"
    for words in (
        store.fingerprint,
        "must not be done",
        "letterbox",
        "untrained",
        "`patch_mean` (slice, 7 dim",
    ):
        assert words in body or words == "letterbox"
    assert not any(path.suffix == ".py" for path in (tmp_path / "hf").iterdir()), "no code to load it by"
    assert store.to_hf_dataset(["cls"])[2]["cls"] == own(store, "cls")[2].tolist()


def refuse_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever reaches out from now on fails the test."""
    import socket

    def refuse(*given: Any, **_: Any) -> None:
        raise AssertionError(f"reached out to {given[1:]}")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize("out", ["s.h5ad", "s.nc", "hf"])
def test_hostile_ids_stay_text(out: str, tmp_path: Path) -> None:
    pytest.importorskip({"s.h5ad": "anndata", "s.nc": "h5netcdf", "hf": "datasets"}[out])
    keys = [VolumeKey(name, "", "T1w") for name in HOSTILE]
    location = make_one(tmp_path / "in" / "s.zarr", keys, ("cls",))
    (tmp_path / "out").mkdir()
    sc.export(location, tmp_path / "out" / out, "huggingface" if out == "hf" else None)
    assert os.listdir(tmp_path / "out") == [out]
    assert sorted(ids(tmp_path / "out" / out)) == sorted(HOSTILE)


def ids(path: Path) -> list[str]:
    """The participants that another program finds in a file."""
    if path.suffix == ".h5ad":
        import anndata

        return list(anndata.read_h5ad(path).obs["participant_id"])
    if path.suffix == ".nc":
        import xarray

        with xarray.open_dataset(path, engine="h5netcdf") as found:
            return list(found["participant_id"].values)
    import datasets

    return list(datasets.load_from_disk(str(path))["participant_id"])


def test_keys_that_read_alike_keep_names_apart(tmp_path: Path) -> None:
    pytest.importorskip("anndata")
    keys = [VolumeKey("a/b", "", "c"), VolumeKey("a", "b", "c")]
    found = sc.open(make_one(tmp_path / "s.zarr", keys, ("cls",))).to_anndata()
    assert found.obs_names.is_unique


def test_stores_without_cls_and_with_grids(tmp_path: Path) -> None:
    pytest.importorskip("anndata")
    keys = [VolumeKey(f"p{n}", "", "T1w") for n in range(3)]
    location = make_one(tmp_path / "s.zarr", keys, ("patch_mean", "patches"), storage="float32")
    store = sc.open(location)
    found = store.to_anndata(rows="slice")
    assert found.uns["tokens"] == "patch_mean"
    np.testing.assert_array_equal(found.X, np.concatenate(own(store, "patch_mean")))
    with pytest.raises(sc.ConfigError, match="'patches' holds 3 x 5 x 7 numbers"):
        store.to_anndata(["patches"])
    pytest.importorskip("h5netcdf")
    xarray = pytest.importorskip("xarray")
    sc.export(location, tmp_path / "s.nc")
    with xarray.open_dataset(tmp_path / "s.nc", engine="h5netcdf") as dataset:
        assert dataset["patches"].dims == ("volume", "slice", "row", "col", "dim")
        np.testing.assert_array_equal(dataset["patches"].values, store.tokens("patches").x)
    pytest.importorskip("datasets")
    rows = store.to_hf_dataset().with_format("numpy")
    np.testing.assert_array_equal(rows[2]["patches"], own(store, "patches")[2])


def test_nan_tokens_of_somebody_elses_store_stay_nan(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("anndata")
    read = StoreReader.read

    def spoilt(*given: Any) -> Any:  # our writer refuses such tokens, another's may not
        values = read(*given).copy()
        values[:, 1] = np.nan
        return values

    monkeypatch.setattr(StoreReader, "read", spoilt)
    store = sc.open(location)
    assert np.isnan(store.to_anndata().X).all(), "a mean without the slice would hide that it is damaged"
    assert np.isnan(store.to_anndata(rows="slice").X).all(1).tolist()[:4] == [False, True, False, False]


@pytest.mark.parametrize(
    ("out", "format_", "words"),
    [
        ("s.h5", None, "cache export"),
        ("s", None, "does not say what it is to be"),
        ("s.h5ad", "xarray", "a file that ends in .nc"),
        ("s.nc", "huggingface", "whose name ends otherwise"),
        ("s3://b/s.nc", None, "is a URL"),
        ("people.tsv.h5ad", None, "is there already"),
    ],
)
def test_what_is_refused(location: str, tmp_path: Path, out: str, format_: Any, words: str) -> None:
    (tmp_path / "people.tsv.h5ad").write_text("somebody's")
    target = out if "://" in out else tmp_path / out
    with pytest.raises(sc.SlicecacheError, match=words):
        sc.export(location, target, format_)
    assert (tmp_path / "people.tsv.h5ad").read_text() == "somebody's"
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")], "half of a file was left"


@pytest.mark.parametrize(("out", "package"), [("s.nc", "h5netcdf"), ("s", "datasets")])
def test_an_absent_package_is_one_sentence(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, package: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(sc.ConfigError, match=rf"needs {package}.*pip install 'slicecache\[interop\]'"):
        sc.export(location, tmp_path / out, "huggingface" if out == "s" else None)
    assert not (tmp_path / out).exists()


def test_the_command_says_what_it_made(location: str, tmp_path: Path) -> None:
    words = [location, tmp_path / "s.h5ad", "--rows", "slice", "--cohort", tmp_path / "people.tsv", "--json"]
    answer = run("export", words)
    assert (answer.code, answer.err) == (0, "")
    told = json.loads(answer.out)
    assert (told["format"], told["n_volumes"]) == ("anndata", 4)
    assert Path(told["location"]).stat().st_size > 0


def test_a_withdrawn_participant_is_not_handed_on(location: str, tmp_path: Path) -> None:
    pytest.importorskip("anndata")
    from cache_schema.move.remove import remove_participant

    remove_participant(location, "b")
    assert set(sc.open(location).to_anndata().obs["participant_id"]) == {"a", "c"}
    assert len(open_store(location).entries) == 2
