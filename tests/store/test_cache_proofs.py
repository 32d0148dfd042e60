"""Reading proves: a record says of an array what SPEC.md writes out, and numbers of elsewhere are refused."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row

from cache_schema.common.errors import StoreError
from cache_schema.files.chunks.chunk import encode
from cache_schema.format.canonical import canonical_json, sha256_json
from cache_schema.format.digests.crc import crc32c, joined, shifted
from cache_schema.format.digests.proof import prove_array, seed
from cache_schema.format.identity import VolumeKey
from cache_schema.format.layout import metadata_name, record_name
from cache_schema.move.export import export_store, import_store, prepare_pseudonyms
from cache_schema.move.pack import pack
from cache_schema.store.reader import open_store
from cache_schema.store.reading import proofs as proofs_module
from cache_schema.store.writer import StoreWriter
from cache_schema.verify.verify import verify_store

LENGTHS = (7, 3, 7, 5)
STEP = 3


def write(location, tokens=("cls", "patch_mean", "patches"), lengths=LENGTHS, step=STEP):
    header = example_header(tokens, slice_chunk=step)
    rows = [example_row(example_key(i), n) for i, n in enumerate(lengths)]
    writer = StoreWriter.open(str(location), header, rows)
    for i, n in enumerate(lengths):
        writer.commit(example_draft(example_key(i), n), example_arrays(header, n, i))
    return location


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return write(tmp_path_factory.mktemp("sound") / "s.zarr")


@pytest.fixture
def store(sound, tmp_path):
    shutil.copytree(sound, tmp_path / "s.zarr")
    return tmp_path / "s.zarr"


def slow_crc32c(data: bytes) -> int:
    """Bit by bit: the remainder of the message times x^32 by Castagnoli's polynomial, bits reversed."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def test_the_slow_crc32c_is_the_standard_one():
    assert slow_crc32c(b"123456789") == 0xE3069283


@settings(deadline=None)
@given(a=st.binary(max_size=70), b=st.binary(max_size=70))
def test_checksums_of_parts_join(a, b):
    one, other = slow_crc32c(a), slow_crc32c(b)
    assert crc32c(np.frombuffer(b, dtype=np.uint8)) == other
    assert joined(one, other, len(b)) == slow_crc32c(a + b)
    for many in (1, 40):  # one by one, and in numpy
        assert (shifted(np.full(many, one), len(b)) ^ other == slow_crc32c(a + b)).all()


@settings(deadline=None)
@given(
    texts=st.tuples(*[st.text(st.characters(exclude_categories=["Cs"]), max_size=6)] * 3),
    lengths=st.tuples(st.integers(1, 9), st.integers(1, 4), st.integers(1, 5)),
    number=st.integers(0, 2**32 - 1),
)
def test_array_proofs_are_the_written_rule(texts, lengths, number):
    (n, dim, step), key = lengths, VolumeKey(*texts)
    spec = example_header(("patches",), dim=dim, grid=(2, 3), storage="float32").arrays[0]
    values = np.random.default_rng(number).standard_normal((n, 2, 3, dim), dtype=np.float32)
    whose = [*texts, "patches", "float32", [n, 2, 3, dim]]
    written = canonical_json(whose) + values.astype("<f4").tobytes()
    proof = prove_array(key, spec, values.astype(">f4"), step)
    assert seed(key, spec, n) == canonical_json(whose)
    assert proof.sha256 == hashlib.sha256(written).hexdigest()
    assert proof.crc32c == slow_crc32c(written)
    if n <= step:
        assert (proof.block_slices, proof.blocks) == (0, ())
        return
    assert proof.block_slices == step
    for place, crc in enumerate(proof.blocks):
        first = place * step
        part = values[first : first + step].astype("<f4").tobytes()
        assert crc == slow_crc32c(canonical_json([*whose, first]) + part)
    assert len(proof.blocks) == -(-n // step)


def test_a_record_and_a_sealed_index_state_the_proofs(store):
    pack(str(store))
    reader = open_store(store)
    index = json.loads((store / "sealed/index.json").read_bytes())
    for place, entry in enumerate(reader.entries):
        record = reader.record(entry.key)
        for spec in reader.header.arrays:
            values = reader.read_volume(spec.name, entry.key)
            assert record.arrays[spec.name] == prove_array(entry.key, spec, values, STEP)
            assert index["crc32c"][spec.name][place] == record.arrays[spec.name].crc32c


SAME_SHAPE = ("cls", "patch_mean")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_two_chunks_can_change_places(sound, tmp_path_factory, data):
    chunks = [
        (name, row, block)
        for name in SAME_SHAPE
        for row, n in enumerate(LENGTHS)
        for block in range(-(-n // STEP))
    ]
    one, other = data.draw(st.lists(st.sampled_from(chunks), min_size=2, max_size=2, unique=True))
    folder = tmp_path_factory.mktemp("swap") / "s.zarr"
    shutil.copytree(sound, folder)
    files = [folder / f"{name}/c.{row}.{block}.0" for name, row, block in (one, other)]
    first, second = (file.read_bytes() for file in files)
    files[0].write_bytes(second)
    files[1].write_bytes(first)
    reader = open_store(folder)
    for name in SAME_SHAPE:
        for entry in reader.entries:
            spoilt = {block for array, row, block in (one, other) if (array, row) == (name, entry.row)}
            refused = f"volume {entry.key}, array '{name}': .*not those that were committed"
            for block in range(-(-entry.n_slices // STEP)):
                if block in spoilt:
                    with pytest.raises(StoreError, match=refused):
                        reader.read_slices(name, entry, [block * STEP])
                else:
                    reader.read_slices(name, entry, [block * STEP])
            if spoilt:
                with pytest.raises(StoreError, match=refused):
                    reader.read(name, [entry])
            else:
                reader.read(name, [entry])
    assert {p.array for p in verify_store(str(folder)).problems} >= {one[0], other[0]}
    shutil.rmtree(folder)


def rechunk(store, name, step):
    """Store an array in chunks of another length, as somebody else's copy may have them."""
    reader = open_store(store)
    numbers = {entry.row: reader.read_volume(name, entry.key) for entry in reader.entries}
    for chunk in (store / name).glob("c.*"):
        chunk.unlink()
    meta = json.loads((store / metadata_name(name)).read_bytes())
    meta["chunk_grid"]["configuration"]["chunk_shape"][1] = step
    (store / metadata_name(name)).write_bytes(canonical_json(meta))
    layout = open_store(store).layout(name)
    for row, values in numbers.items():
        for block in range(layout.blocks(len(values))):
            part = values[block * step : (block + 1) * step]
            (store / layout.chunk_name(row, block)).write_bytes(encode(layout, part))


@pytest.mark.parametrize("step", [1, 2, 4, 20])
def test_chunks_need_not_be_the_blocks_of_the_record(store, step):
    whole = open_store(store).read("cls")
    rechunk(store, "cls", step)
    reader = open_store(store)
    np.testing.assert_array_equal(reader.read("cls"), whole)
    for place, entry in enumerate(reader.entries):
        found = reader.read_slices("cls", entry, [entry.n_slices - 1, 0])
        np.testing.assert_array_equal(found, whole[place, [entry.n_slices - 1, 0]])
    assert verify_store(str(store)).ok
    shutil.copy(store / "cls/c.0.0.0", store / "cls/c.2.0.0")
    reader = open_store(store)
    with pytest.raises(StoreError, match=r"p002/T1w, array 'cls': .*not those that were committed"):
        reader.read_slices("cls", reader.entries[2], [0])


def forged(values):
    """Other numbers whose bytes have the same crc32c: the last four undo what the first change did."""
    plain = values.reshape(-1).view(np.uint8).copy()
    changed = plain.copy()
    for byte in range(0, len(plain) - 4, 2):
        changed[:] = plain
        changed[byte] ^= 1
        undo = crc32c(plain[:-4]) ^ crc32c(changed[:-4])
        changed[-4:] ^= np.frombuffer(undo.to_bytes(4, "little"), dtype=np.uint8)
        numbers = changed.view(values.dtype).reshape(values.shape)
        if np.isfinite(numbers).all():
            assert crc32c(numbers) == crc32c(values)
            return numbers
    raise AssertionError("every forgery holds a NaN")


def test_sha256_finds_what_was_made_to_have_the_same_crc32c(tmp_path):
    store = write(tmp_path / "s.zarr", ("cls",), (7, 5), step=7)
    reader = open_store(store)
    lie = forged(np.ascontiguousarray(reader.read_volume("cls", example_key(0))))
    (store / "cls/c.0.0.0").write_bytes(encode(reader.layout("cls"), lie))
    np.testing.assert_array_equal(open_store(store).read("cls")[0], lie)
    strong = open_store(store, prove="sha256")
    for act in (lambda: strong.read("cls"), lambda: strong.read_slices("cls", strong.entries[0], [2])):
        with pytest.raises(StoreError, match=r"p000/T1w, array 'cls': .*\(SHA-256\)"):
            act()
    assert [p.array for p in verify_store(str(store)).problems] == ["cls"]


def test_sha256_is_taken_once_per_volume_and_array(store, monkeypatch):
    taken = []
    real = proofs_module.array_sha256
    monkeypatch.setattr(proofs_module, "array_sha256", lambda *a: (taken.append(a[0]), real(*a))[1])
    reader = open_store(store, prove="sha256")
    for _ in range(3):
        reader.read("cls")
        reader.read_slices("patches", reader.entries[0], [0])
    assert len(taken) == len(LENGTHS) + 1
    shutil.copy(store / "cls/c.0.0.0", store / "cls/c.2.0.0")
    with pytest.raises(StoreError, match="not those that were committed"):
        reader.read("cls")


def as_before(store):
    """Take out of every record what version 1.0 did not write."""
    for entry in open_store(store).entries:
        path = store / record_name(entry.key)
        raw = json.loads(path.read_bytes())
        body = {name: value for name, value in raw.items() if name not in ("sha256", "arrays")}
        path.write_bytes(canonical_json({**body, "sha256": sha256_json(body)}))


def test_records_of_before_are_proven_by_the_volume_digest(tmp_path, capsys):
    store = write(tmp_path / "s.zarr", ("cls", "patch_mean"))
    as_before(store)
    pack(str(store), str(tmp_path / "p.zarr"))
    assert "crc32c" not in json.loads((tmp_path / "p.zarr/sealed/index.json").read_bytes())
    for location in (store, tmp_path / "p.zarr"):
        reader = open_store(location)
        reader.read("cls")
        reader.read_slices("patch_mean", reader.entries[0], [1])
    shutil.copy(store / "cls/c.0.0.0", store / "cls/c.2.0.0")
    reader = open_store(store)
    for act in (lambda: reader.read("patch_mean"), lambda: reader.read_slices("cls", reader.entries[2], [1])):
        with pytest.raises(StoreError, match=r"p002/T1w, .*volume digest"):
            act()
    assert capsys.readouterr().err == ""


def test_a_volume_of_before_is_read_whole_once(tmp_path, monkeypatch):
    store = write(tmp_path / "s.zarr", ("cls", "patch_mean"))
    as_before(store)
    reader, digests = open_store(store), []
    real = proofs_module.volume_digest
    monkeypatch.setattr(proofs_module, "volume_digest", lambda *a: (digests.append(a[0]), real(*a))[1])
    for _ in range(2):
        reader.read("cls")
        reader.read("patch_mean")
    assert len(digests) == len(LENGTHS)


def test_what_cannot_be_proven_is_said_once(store, capsys):
    as_before(store)
    shutil.copy(store / "cls/c.0.0.0", store / "cls/c.2.0.0")
    reader = open_store(store)
    for _ in range(2):
        reader.read("cls")
        reader.read_slices("patches", reader.entries[1], [0])
    assert capsys.readouterr().err.count("unproven") == 1
    strong = open_store(store, prove="sha256")
    strong.read("patches", strong.entries[:2])
    with pytest.raises(StoreError, match=r"p002/T1w, array 'patches': .*volume digest"):
        strong.read("patches")
    assert capsys.readouterr().err == ""


def test_a_move_keeps_proofs_and_a_new_key_renews_them(store, tmp_path):
    before = list(open_store(store).records())
    export_store(str(store), str(tmp_path / "s.h5"))
    import_store(str(tmp_path / "s.h5"), str(tmp_path / "back.zarr"))
    assert [r.arrays for r in open_store(tmp_path / "back.zarr").records()] == [r.arrays for r in before]
    names = prepare_pseudonyms(str(store), str(tmp_path / "p.h5"), str(tmp_path / "names.tsv"))
    export_store(str(store), str(tmp_path / "p.h5"), pseudonyms=names)
    hidden = open_store(tmp_path / "p.h5", prove="sha256")
    hidden.read("patches")
    known = {proof.sha256 for record in before for proof in record.arrays.values()}
    known |= {str(proof.crc32c) for record in before for proof in record.arrays.values()}
    for record in hidden.records():
        assert not known & {proof.sha256 for proof in record.arrays.values()}
        assert not known & {str(proof.crc32c) for proof in record.arrays.values()}
    assert verify_store(str(tmp_path / "p.h5")).ok
