"""How version 1 grows: later fields, hashes over what is stored, and what an older reader says."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_up_store import example_header

from aggregate.anomaly.study.bundle import load_detectors
from aggregate.predict.bundle import load_bundle
from cache_schema.common.errors import SlicecacheError, StoreError, StoreMismatch
from cache_schema.common.strict import later
from cache_schema.format.canonical import canonical_json, sha256_json
from cache_schema.format.header import Numerics, differing_fields, require_equal
from cache_schema.store.reader import open_store
from cache_schema.store.seal import seal
from cache_schema.verify.verify import verify_store
from extract.backbones import shape
from extract.slices.intensity import Percentile
from extract.slices.preprocessing import StepOverrides
from extract.slices.presets import PRESETS, preprocessing_of
from extract.slices.rules import Every

ARCHIVE = Path(__file__).parents[1] / "data" / "v1"


class EngineNumerics(Numerics):
    """Numerics of a program to come."""

    engine: str = later("torch")


def test_a_later_field_counts_where_it_is_not_what_it_was():
    old = example_header().numerics
    raw = old.model_dump(mode="json")
    assert EngineNumerics.model_validate(raw).digest == old.digest
    assert EngineNumerics.model_validate(raw | {"engine": "torch"}).digest == old.digest
    other = EngineNumerics.model_validate(raw | {"engine": "openvino"})
    assert other.digest == sha256_json(raw | {"engine": "openvino"}) != old.digest
    assert EngineNumerics.model_validate_json(other.model_dump_json()) == other
    with pytest.raises(StoreMismatch, match="engine is 'openvino' here and None there"):
        require_equal(other, old, "they differ", "")
    assert differing_fields({"engine": None}, {}) != []


def test_what_version_1_0_writes_is_written_whatever_its_value():
    header = example_header(created={}).model_dump(mode="json")
    assert header["created"] == {}
    assert header["fingerprint"]["plane"] == "axial"
    assert header["fingerprint"]["backbone"]["layers"] == []


def test_later_parameters_of_steps_and_slice_rules_leave_old_fingerprints():
    class Clipped(Percentile):
        floor: float = later(0.0, ge=0)

    class Shifted(Every):
        offset_mm: float = later(0.0)

    def prepared(intensity: Percentile, slices: Every) -> Any:
        made = preprocessing_of("letterbox", StepOverrides(intensity=intensity, slices=slices))
        return made.fingerprint_steps(), made.fingerprint_slices()

    old = prepared(Percentile(), Every(step_mm=4))
    assert old[0] == PRESETS["letterbox"].fingerprint_steps()
    assert prepared(Clipped(), Shifted(step_mm=4)) == old
    steps, slices = prepared(Clipped(floor=3), Shifted(step_mm=4, offset_mm=1))
    assert [step.get("floor") for step in steps] == [None, None, 3.0, None, None]
    assert slices == old[1] | {"offset_mm": 1.0}


def test_later_sizes_of_a_network_leave_old_fingerprints(monkeypatch):
    plain, other = (shape.Shape(3, 128, 4, hidden=512, qkv_bias=bias) for bias in (True, False))
    before = shape.architecture_of(plain, "untrained", 28)
    monkeypatch.setattr(shape, "LATER", {"qkv_bias": True})
    assert shape.architecture_of(plain, "untrained", 28) == before
    assert shape.architecture_of(other, "untrained", 28) == before | {"qkv_bias": False}


def resign(raw: dict[str, Any]) -> dict[str, Any]:
    """With the hash over all else as it is now."""
    body = {name: value for name, value in raw.items() if name != "sha256"}
    return body | {"sha256": sha256_json(body)}


def change(path: Path, edit: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Rewrite a JSON file; members that hold hashes are not touched."""
    path.write_bytes(canonical_json(edit(json.loads(path.read_bytes()))))


def with_header(edit: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Edit a header and renew its hash, as whoever wrote it would have."""

    def edited(raw: dict[str, Any]) -> dict[str, Any]:
        edit(raw["header"])
        return {"header": raw["header"], "sha256": sha256_json(raw["header"])}

    return edited


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A writable copy of the archived sealed store."""
    return Path(shutil.copytree(ARCHIVE / "sealed.zarr", tmp_path / "copy.zarr"))


def test_hashes_are_over_what_is_stored(copy):
    """A store that leaves out what this program would fill in is as whole as any."""
    fingerprint = open_store(copy).header.fingerprint.digest

    def shorten(header: dict[str, Any]) -> None:
        del header["fingerprint"]["plane"], header["created"]

    shutil.rmtree(copy / "sealed")
    change(copy / "header.json", with_header(shorten))
    record = next((copy / "records").rglob("*.json"))
    change(record, lambda raw: resign({name: raw[name] for name in raw if name != "warnings"}))
    seal(str(copy))
    store = open_store(copy)
    assert store.sealed
    assert store.header.fingerprint.digest == fingerprint
    assert verify_store(str(copy), full=True).ok


def test_a_record_with_a_digit_more_is_not_as_it_was_written(copy):
    record = next((copy / "records").rglob("*.json"))
    data = record.read_bytes()
    assert b"224.0" in data or b"10.0" in data
    record.write_bytes(data.replace(b"10.0", b"10.00", 1))
    problems = verify_store(str(copy)).problems
    assert [problem.problem for problem in problems] == ["not as it was written: edited"]


UNKNOWN = {
    "header.json": (with_header(lambda header: header["numerics"].update(motor="x")), "numerics.motor"),
    "table/000000.json": (lambda raw: resign(raw | {"engine": "x"}), "engine"),
    "sealed/index.json": (lambda raw: resign(raw | {"engine": "x"}), "engine"),
}
"""Object of a store -> an edit that a newer program might have made, and the field's name."""


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_field_is_refused_by_name(copy, name):
    edit, field = UNKNOWN[name]
    change(copy / name, edit)
    with pytest.raises(StoreError, match=f"{name}.* has the field '{field}', which this version"):
        open_store(copy).table()


def test_an_unknown_field_of_a_record_is_refused_by_name(copy):
    shutil.rmtree(copy / "sealed")
    path = next((copy / "records").rglob("*.json"))
    change(path, lambda raw: resign(raw | {"engine": "x"}))
    store = open_store(copy)
    with pytest.raises(StoreError, match=f"{path.name} .* has the field 'engine', which this version"):
        list(store.records())


def test_an_unknown_field_of_a_failure_is_refused_by_name(copy):
    path = next((copy / "failures").rglob("*.json"))
    change(path, lambda raw: raw | {"engine": "x"})
    store = open_store(copy)
    with pytest.raises(StoreError, match=f"{path.name} has the field 'engine', which this version"):
        store.failures()


@pytest.mark.parametrize(("verb", "load"), [("train", load_bundle), ("detect", load_detectors)])
def test_an_unknown_field_of_a_card_is_refused_by_name(tmp_path, verb, load):
    bundle = Path(shutil.copytree(ARCHIVE / verb / "bundle", tmp_path / "bundle"))
    change(bundle / "bundle.json", lambda raw: raw | {"engine": "x"})
    with pytest.raises(SlicecacheError, match="has the field 'engine', which this version"):
        load(bundle)
