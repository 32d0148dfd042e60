"""Stores that were computed otherwise: refused by name, or pooled with every record saying its own."""

import json
from pathlib import Path

import pytest
from made_up_centres import LENGTHS, files_of, fill, said_of, sound
from made_up_store import (
    example_arrays,
    example_draft,
    example_header,
    example_key,
    example_row,
)

from cache_schema.common.errors import StoreError, StoreMismatch
from cache_schema.format.header import OPEN, Numerics
from cache_schema.move.export import export_store, import_store
from cache_schema.move.merging.merge import merge_stores
from cache_schema.move.merging.subset import subset_store
from cache_schema.move.pack import pack, unpack
from cache_schema.move.remove import remove_participant
from cache_schema.store.reader import open_store
from cache_schema.store.writer import StoreWriter
from cache_schema.verify.verify import verify_store


@pytest.fixture
def mixed(tmp_path):
    """Three volumes in float32 and two in bfloat16, merged; the two stores beside it."""
    a = fill(tmp_path / "a", [0, 2, 4])
    b = fill(tmp_path / "b", [1, 3], header=example_header(slice_chunk=5, compute="bfloat16"))
    made = merge_stores([a, b], str(tmp_path / "mixed"), mixed_numerics=True)
    return a, b, made


MIXTURE = [
    ("p000", "float32"),
    ("p001", "bfloat16"),
    ("p002", "float32"),
    ("p003", "bfloat16"),
    ("p004", "float32"),
]


def test_other_numerics_are_refused_unless_they_may_mix_and_then_every_record_says_its_own(tmp_path, mixed):
    a, b, made = mixed
    with pytest.raises(
        StoreMismatch, match=r"compute_dtype is 'float32' here and 'bfloat16' there.*--mixed-numerics"
    ):
        merge_stores([b, a], str(tmp_path / "x"))
    out = sound(made.location)
    assert out.header.numerics.compute_dtype == "float32"
    assert [numerics.compute_dtype for numerics in out.header.other_numerics] == ["bfloat16"]
    assert said_of(made.location) == MIXTURE
    assert [record.numerics is None for record in out.records()] == [True, False, True, False, True]
    assert list(made.numerics.values()) == [3, 2]
    assert "WARNING: numerics are mixed: 3 volumes with compute_dtype float32" in made.in_words()
    with pytest.raises(StoreMismatch, match="--mixed-numerics"):
        merge_stores([made.location], str(tmp_path / "x"))
    again = merge_stores([b, made.location, a], str(tmp_path / "again"), mixed_numerics=True)
    assert files_of(again.location) == files_of(made.location)


def test_the_majority_and_then_the_text_decide_on_the_headers_numerics(tmp_path, mixed):
    a, b, _ = mixed
    one = subset_store(a, str(tmp_path / "one"), participants=["p000"])[0].location
    other = subset_store(b, str(tmp_path / "other"), participants=["p001"])[0].location
    for first, second in ((one, other), (other, one)):
        made = merge_stores(
            [first, second], str(tmp_path / first.rsplit("/")[-1]) + "-tie", mixed_numerics=True
        )
        assert open_store(made.location).header.numerics.compute_dtype == "bfloat16"
    made = merge_stores([one, b], str(tmp_path / "most"), mixed_numerics=True)
    assert said_of(made.location) == [("p000", "float32"), ("p001", "bfloat16"), ("p003", "bfloat16")]
    assert open_store(made.location).header.numerics.compute_dtype == "bfloat16"


def test_a_mixed_store_is_verified_exported_imported_packed_and_cut_down_with_its_numerics(tmp_path, mixed):
    where = mixed[2].location
    export_store(where, str(tmp_path / "x.h5"))
    import_store(str(tmp_path / "x.h5"), str(tmp_path / "back"))
    pack(where, str(tmp_path / "packed"))
    unpack(str(tmp_path / "packed"), str(tmp_path / "unpacked"))
    for name in ("x.h5", "back", "packed", "unpacked"):
        sound(str(tmp_path / name))
        assert said_of(tmp_path / name) == MIXTURE
    part = subset_store(where, str(tmp_path / "part"), participants=["p001", "p003"])[0]
    assert open_store(part.location).header.other_numerics == ()
    assert open_store(part.location).header.numerics.compute_dtype == "bfloat16"
    remove_participant(where, "p001")
    sound(where)
    header, key = open_store(where).header, example_key(9)
    writer = StoreWriter.open(where, header, [example_row(key, 4)])
    assert writer.commit(example_draft(key, 4), example_arrays(header, 4)).numerics is None
    sound(where)


def opened(location, numbers, compute=None, pending=()):
    """A store whose header leaves the compute dtype open, and that somebody fixed before they embedded."""
    header = example_header(slice_chunk=5, compute=OPEN)
    fill(location, [], header=header, pending=[*numbers, *pending])
    writer = StoreWriter.open(str(location), header, [], durable=False)
    if compute is not None:
        numerics = header.numerics.model_copy(update={"compute_dtype": compute})
        writer.fix_numerics(numerics, "cuda", {"host": "node-1"})
    for number in numbers:
        n = LENGTHS[number]
        writer.commit(example_draft(example_key(number), n), example_arrays(header, n, number))
    return str(location)


def test_numerics_that_were_left_open_and_fixed_are_those_of_the_store(tmp_path):
    a, b = fill(tmp_path / "a", [0]), opened(tmp_path / "b", [1], "float32")
    nobody = opened(tmp_path / "c", [], pending=[2])
    made = merge_stores([nobody, b, a], str(tmp_path / "out"))
    out = sound(made.location)
    assert (out.header.numerics, out.header.other_numerics) == (open_store(a).header.numerics, ())
    assert out.fixed_numerics() is None
    embedded = {"device": "cuda", "host": "node-1"}
    assert out.header.created["merged"] == [
        {"command": "example", "embedded": embedded},
        {"command": "example"},
    ]
    assert (made.pending, out.table()[2].participant_id) == (1, "p002")
    export_store(b, str(tmp_path / "b.h5"))
    assert open_store(tmp_path / "b.h5").header.created == {"embedded": {"device": "cuda"}}
    other = opened(tmp_path / "d", [3], "bfloat16")
    with pytest.raises(StoreMismatch, match="compute_dtype is 'bfloat16' here and 'float32' there"):
        merge_stores([a, other], str(tmp_path / "x"))
    merge_stores([a, b, other], str(tmp_path / "mixed"), mixed_numerics=True)
    assert said_of(tmp_path / "mixed") == [("p000", "float32"), ("p001", "float32"), ("p003", "bfloat16")]


def test_numerics_that_the_header_does_not_allow_are_found(tmp_path, mixed):
    a = mixed[0]
    name = next(Path(a, "records").rglob("*.json"))
    record = open_store(a).record(example_key(json.loads(name.read_bytes())["row"] * 2))
    forged = record.model_copy(
        update={"numerics": Numerics(compute_dtype="float16", storage_dtype="float16", resize_backend="x")}
    ).signed()
    from cache_schema.format.canonical import canonical_json

    name.write_bytes(canonical_json(forged.model_dump(mode="json")))
    assert ["numerics" in problem.problem for problem in verify_store(a).problems] == [True]
    with pytest.raises(StoreError, match="other numerics than the header allows"):
        merge_stores([a], str(tmp_path / "x"))
    assert not (tmp_path / "x").exists()
