"""Numerics that a header leaves open: fixed once by whoever embeds first, and known to every reader."""

import json
import re
import threading
from pathlib import Path

import pytest
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row

from cache_schema.common.errors import StoreError, StoreMismatch
from cache_schema.format.header import OPEN, Header
from cache_schema.move.export import export_store, import_store
from cache_schema.move.pack import pack, unpack
from cache_schema.store.create import fixed_at, read_header
from cache_schema.store.reader import open_store
from cache_schema.store.seal import seal
from cache_schema.store.writer import StoreWriter
from cache_schema.verify.verify import verify_store

N = 3


def planned(place: Path, compute: str = OPEN) -> Header:
    header = example_header(compute=compute)
    StoreWriter.open(str(place), header, [example_row(example_key(i), 4) for i in range(N)])
    return header


def embedded(place: Path, compute: str = "bfloat16", device: str = "cuda") -> StoreWriter:
    header = planned(place)
    writer = StoreWriter.open(str(place), header, ())
    wanted = header.numerics.model_copy(update={"compute_dtype": compute})
    writer.fix_numerics(wanted, device, {"host": "node07"})
    for i in range(N):
        key = example_key(i)
        writer.commit(example_draft(key, 4), example_arrays(header, 4, i))
    return writer


def test_a_plan_leaves_them_open_and_the_first_that_embeds_fixes_them_for_all(tmp_path):
    header = planned(tmp_path / "store")
    assert open_store(tmp_path / "store").header.numerics.compute_dtype == OPEN
    assert fixed_at(tmp_path / "store") is None
    writer = StoreWriter.open(str(tmp_path / "store"), header, ())
    first = header.numerics.model_copy(update={"compute_dtype": "bfloat16"})
    second = header.numerics.model_copy(update={"compute_dtype": "float32"})
    assert writer.fix_numerics(first, "cuda", {}).numerics == first
    late = StoreWriter.open(str(tmp_path / "store"), header, ()).fix_numerics(second, "cpu", {})
    assert (late.numerics, late.device) == (first, "cuda")
    assert writer.header.numerics == open_store(tmp_path / "store").header.numerics == first


def test_of_many_at_once_exactly_one_is_obeyed(tmp_path):
    header = planned(tmp_path / "store")
    writers = [StoreWriter.open(str(tmp_path / "store"), header, ()) for _ in range(8)]
    found, ready = [], threading.Barrier(len(writers))

    def race(number: int) -> None:
        compute = "float32" if number % 2 else "bfloat16"
        ready.wait()
        wanted = header.numerics.model_copy(update={"compute_dtype": compute})
        found.append(writers[number].fix_numerics(wanted, "cpu", {"worker": number}))

    threads = [threading.Thread(target=race, args=(i,)) for i in range(len(writers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(writers)
    assert all(each == found[0] for each in found)


def test_a_store_asked_for_otherwise_is_refused_and_one_left_open_is_not(tmp_path):
    embedded(tmp_path / "store")
    StoreWriter.open(str(tmp_path / "store"), example_header(compute=OPEN), ())
    StoreWriter.open(str(tmp_path / "store"), example_header(compute="bfloat16"), ())
    with pytest.raises(StoreMismatch, match=r"compute_dtype is 'float32' here and 'bfloat16' there"):
        StoreWriter.open(str(tmp_path / "store"), example_header(compute="float32"), ())
    with pytest.raises(StoreMismatch, match="storage_dtype"):
        StoreWriter.open(str(tmp_path / "store"), example_header(compute=OPEN, storage="float32"), ())


def test_every_form_of_the_store_says_them(tmp_path):
    store = tmp_path / "store"
    embedded(store)
    digest = open_store(store).content_digest()
    seal(str(store))
    pack(str(store))
    export_store(str(store), str(tmp_path / "store.h5"))
    import_store(str(tmp_path / "store.h5"), str(tmp_path / "again"))
    for place in (store, tmp_path / "store.h5", tmp_path / "again"):
        reader = open_store(place)
        assert reader.header.numerics.compute_dtype == "bfloat16"
        assert reader.content_digest() == digest
        assert verify_store(str(place), full=True).problems == ()
    unpack(str(store))
    assert fixed_at(store).made == {"host": "node07"}
    assert verify_store(str(store), full=True).problems == ()


def edited(place: Path, **changes: object) -> None:
    raw = json.loads((place / "numerics.json").read_bytes())
    (place / "numerics.json").write_text(json.dumps(raw | changes))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda place: (place / "numerics.json").unlink(), "is missing, and 3 volumes are committed"),
        (lambda place: (place / "numerics.json").write_bytes(b""), "cannot be read"),
        (lambda place: (place / "numerics.json").write_bytes(b"[1]"), "cannot be read"),
        (lambda place: edited(place, device="cpu"), "does not match its own hash"),
        (lambda place: edited(place, unknown=1), "cannot be read|does not match"),
    ],
)
def test_what_is_lost_or_damaged_is_named(tmp_path, damage, sentence):
    embedded(tmp_path / "store")
    damage(tmp_path / "store")
    with pytest.raises(StoreError, match=sentence):
        open_store(tmp_path / "store")
    found = verify_store(str(tmp_path / "store"))
    assert any(re.search(sentence, problem.problem) for problem in found.problems)


def test_those_of_another_store_are_refused(tmp_path):
    embedded(tmp_path / "a")
    other = example_header(compute=OPEN, created={"command": "another"})
    StoreWriter.open(str(tmp_path / "b"), other, [example_row(example_key(0), 4)])
    (tmp_path / "b" / "numerics.json").write_bytes((tmp_path / "a" / "numerics.json").read_bytes())
    with pytest.raises(StoreError, match="belongs to another header"):
        read_header(tmp_path / "b")


def test_a_header_that_says_otherwise_is_not_overruled(tmp_path):
    header = planned(tmp_path / "store", compute="float32")
    writer = StoreWriter.open(str(tmp_path / "store"), header, ())
    wanted = header.numerics.model_copy(update={"compute_dtype": "bfloat16"})
    with pytest.raises(StoreError, match="and the header"):
        writer.fix_numerics(wanted, "cpu", {})
