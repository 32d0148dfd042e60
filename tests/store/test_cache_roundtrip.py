"""What is committed is what is read, for any shape, dtype and choice of arrays."""

import json
import shutil
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row, tiny_png

from cache_schema.common.errors import StoreError
from cache_schema.format import layout
from cache_schema.store.reader import open_store
from cache_schema.store.writer import StoreWriter
from cache_schema.verify.verify import verify_store


def fill(location, header, lengths, seed=0):
    keys = [example_key(i) for i in range(len(lengths))]
    rows = [example_row(key, n) for key, n in zip(keys, lengths, strict=True)]
    writer = StoreWriter.open(str(location), header, rows)
    written = {}
    for number, (key, n) in enumerate(zip(keys, lengths, strict=True)):
        written[key] = example_arrays(header, n, seed + number)
        writer.commit(example_draft(key, n), written[key], tiny_png(number))
    return writer, written


tokens = st.lists(st.sampled_from(layout.TOKENS), min_size=1, unique=True)


@given(
    tokens=tokens,
    storage=st.sampled_from(["float16", "float32"]),
    grid=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    dim=st.integers(1, 7),
    slice_chunk=st.integers(1, 9),
    lengths=st.lists(st.integers(1, 13), min_size=1, max_size=4),
    chunk_bytes=st.sampled_from([64, 300, 4 * 1024 * 1024]),
)
@settings(max_examples=25, deadline=None)
def test_round_trip(tokens, storage, grid, dim, slice_chunk, lengths, chunk_bytes):
    header = example_header(tokens, dim=dim, grid=grid, storage=storage, slice_chunk=slice_chunk)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "MAX_CHUNK_BYTES", chunk_bytes)
        location = f"{folder}/store.zarr"
        _, written = fill(location, header, lengths)
        store = open_store(location)
        assert [entry.n_slices for entry in store.entries] == lengths
        group = zarr.open_group(location, mode="r")
        for spec in header.arrays:
            block = store.read(spec.name)
            assert block.shape == (len(lengths), max(lengths), *spec.item_shape)
            assert block.dtype == np.dtype(spec.dtype)
            for position, entry in enumerate(store.entries):
                expected = written[entry.key][spec.name].astype(spec.dtype)
                np.testing.assert_array_equal(block[position, : entry.n_slices], expected)
                assert np.isnan(block[position, entry.n_slices :]).all()
                np.testing.assert_array_equal(store.read_volume(spec.name, entry.key), expected)
            np.testing.assert_array_equal(group[spec.name][:, : max(lengths)], block)
            assert group[spec.name].metadata.dimension_names == spec.dims
        assert verify_store(location).problems == ()


def test_entries_come_in_the_order_asked_and_only_those(tmp_path):
    fill(tmp_path / "s", example_header(), [3, 11, 5, 7])
    store = open_store(tmp_path / "s")
    whole = store.read("cls")
    chosen = [store.entries[3], store.entries[0], store.entries[2]]
    part = store.read("cls", chosen)
    assert part.shape == (3, 7, 7)
    np.testing.assert_array_equal(part, whole[[3, 0, 2], :7])
    assert store.read("cls", []).shape == (0, 0, 7)


def test_zip_reads_the_same_stored_or_deflated(tmp_path):
    header = example_header(("cls", "patches"), slice_chunk=4)
    fill(tmp_path / "s", header, [3, 11, 5])
    store = open_store(tmp_path / "s")
    shutil.make_archive(str(tmp_path / "s"), "zip", tmp_path / "s")
    with zipfile.ZipFile(tmp_path / "stored.zip", "w", zipfile.ZIP_STORED) as archive:
        for path in (tmp_path / "s").rglob("*"):
            archive.write(path, path.relative_to(tmp_path / "s"))
    for name in ("s.zip", "stored.zip"):
        other = open_store(tmp_path / name)
        assert other.content_digest() == store.content_digest()
        for array in ("cls", "patches"):
            np.testing.assert_array_equal(other.read(array), store.read(array))
        assert verify_store(str(tmp_path / name)).ok
    with pytest.raises(StoreError, match="written to a folder"):
        StoreWriter.open(str(tmp_path / "s.zip"), header, [])


def test_what_zarr_codes_otherwise_is_refused_before_a_chunk_is_read(tmp_path):
    header = example_header(("cls",), slice_chunk=4)
    fill(tmp_path / "s", header, [3, 11, 5])
    numbers = zarr.open_array(tmp_path / "s" / "cls", mode="r")[:]
    shutil.rmtree(tmp_path / "s" / "cls")
    zarr.open_group(tmp_path / "s", mode="r+").create_array(
        "cls",
        data=numbers,
        chunks=(1, 4, 7),
        chunk_key_encoding={"name": "default", "separator": "."},
        fill_value=np.nan,
        dimension_names=header.arrays[0].dims,
    )
    with pytest.raises(StoreError, match=r"array 'cls': .*'bytes', 'zstd'; only plain chunks"):
        open_store(tmp_path / "s").read("cls")


def test_url_reads_the_same(tmp_path):
    fill(tmp_path / "s", example_header(), [3, 11])
    local, remote = open_store(tmp_path / "s"), open_store(f"file://{tmp_path}/s")
    np.testing.assert_array_equal(remote.read("cls"), local.read("cls"))
    assert remote.content_digest() == local.content_digest()


def test_patches_are_cut_into_chunks_of_at_most_4_mib(tmp_path):
    header = example_header(("cls", "patches"), dim=384, grid=(16, 16), slice_chunk=160)
    StoreWriter.open(str(tmp_path / "s"), header, [example_row(example_key(0), 160)])
    chunks = {
        name: json.loads((tmp_path / "s" / name / "zarr.json").read_text())["chunk_grid"]["configuration"][
            "chunk_shape"
        ]
        for name in ("cls", "patches", "foreground")
    }
    assert chunks == {"cls": [1, 160, 384], "patches": [1, 21, 16, 16, 384], "foreground": [1, 160, 16, 16]}
    assert 21 * 16 * 16 * 384 * 2 <= 4 * 1024 * 1024 < 22 * 16 * 16 * 384 * 2


def test_slow_storage_is_read_by_threads_with_the_same_result(tmp_path, monkeypatch):
    fill(tmp_path / "s", example_header(), [1 + i % 5 for i in range(23)])
    store = open_store(tmp_path / "s")
    expected = store.read("cls")
    monkeypatch.setattr("cache_schema.files.read_pieces.SLOW_BYTES_PER_SECOND", 1e15)
    np.testing.assert_array_equal(store.read("cls"), expected)
    (tmp_path / "s/cls/c.17.0.0").unlink()
    with pytest.raises(StoreError, match=r"p017/T1w, array 'cls': chunk cls/c.17.0.0 is missing"):
        store.read("cls")


def test_reader_names_what_is_wrong_with_a_location(tmp_path):
    with pytest.raises(StoreError, match="there is no store at"):
        open_store(tmp_path / "nothing")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    with pytest.raises(StoreError, match=r"no slicecache store: it has no header\.json"):
        open_store(tmp_path / "folder")
    (tmp_path / "x.zip").write_bytes(b"no zip")
    with pytest.raises(StoreError, match="no zip archive"):
        open_store(tmp_path / "x.zip")
    (tmp_path / "x.h5").touch()
    with pytest.raises(StoreError, match="HDF5"):
        open_store(tmp_path / "x.h5")
    (tmp_path / "x.txt").touch()
    with pytest.raises(StoreError, match="is a file"):
        open_store(tmp_path / "x.txt")


def test_unknown_array_and_uncommitted_volume(tmp_path):
    fill(tmp_path / "s", example_header(("cls",)), [3])
    store = open_store(tmp_path / "s")
    with pytest.raises(StoreError, match="has no array 'patches', only cls"):
        store.read("patches")
    with pytest.raises(StoreError, match="p009/T1w is not committed"):
        store.read_volume("cls", example_key(9))


def test_previews_and_records_come_back(tmp_path):
    fill(tmp_path / "s", example_header(), [3, 5])
    store = open_store(Path(tmp_path / "s"))
    assert store.preview(example_key(1)) == tiny_png(1)
    assert store.preview(example_key(7)) is None
    records = store.records()
    assert [record.key for record in records] == [entry.key for entry in store.entries]
    assert records[1] == store.record(example_key(1))
    assert records[1].slices.index == (2, 3, 4, 5, 6)
    assert records[1].sha256 == records[1].self_hash()
    assert set(records[1].seconds) == {"read", "write"}
