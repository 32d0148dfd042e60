"""Whatever a store lies in, a chunk that is damaged or missing is an error that names volume and array."""

import shutil

import numpy as np
import pytest
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row

from cache_schema.common.errors import StoreError
from cache_schema.move.export import export_store
from cache_schema.move.pack import pack
from cache_schema.store.reader import open_store
from cache_schema.store.seal import seal
from cache_schema.store.writer import StoreWriter

LENGTHS = (7, 3, 11, 5)
VICTIM = 2
CHUNK = 3 * 7 * 2 + 4


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    location = tmp_path_factory.mktemp("damage") / "s.zarr"
    header = example_header(("cls",), slice_chunk=3)
    rows = [example_row(example_key(i), n) for i, n in enumerate(LENGTHS)]
    writer = StoreWriter.open(str(location), header, rows)
    for i, n in enumerate(LENGTHS):
        writer.commit(example_draft(example_key(i), n), example_arrays(header, n, i))
    seal(str(location))
    return location


def damage_plain(folder, how):
    path = folder / f"cls/c.{VICTIM}.1.0"
    if how == "missing":
        path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[5] ^= 1
        path.write_bytes(data)


def damage_packed(folder, how):
    """In shards of 8 the chunks lie one after another: volumes of 3 and 1 chunks come before the victim."""
    path = folder / "cls/c.0.0.0"
    data = bytearray(path.read_bytes())
    if how == "flipped":
        data[(3 + 1 + 1) * CHUNK + 5] ^= 1
    else:
        import google_crc32c

        blocks = (len(data) - 4 - (3 + 1 + 4 + 2) * CHUNK) // 16 // 8
        start = len(data) - 4 - 16 * 8 * blocks + 16 * (VICTIM * blocks + 1)
        data[start : start + 16] = b"\xff" * 16
        index = bytes(data[-4 - 16 * 8 * blocks : -4])
        data[-4:] = google_crc32c.value(index).to_bytes(4, "little")
    path.write_bytes(data)


def damage_h5(path, how):
    import h5py

    with h5py.File(path, "r+") as file:
        if how == "missing":
            file["checksums/cls"][VICTIM, 1] = -1
        else:
            _, data = file["cls"].id.read_direct_chunk((VICTIM, 3, 0))
            file["cls"].id.write_direct_chunk((VICTIM, 3, 0), bytes([data[0] ^ 1]) + data[1:])


def damaged(plain, folder, kind, how):
    place = folder / "s.zarr"
    if "packed" in kind:
        pack(str(plain), str(place), shard_volumes=8)
        damage_packed(place, how)
    elif kind == "h5":
        export_store(str(plain), str(folder / "s.h5"))
        damage_h5(folder / "s.h5", how)
        return str(folder / "s.h5")
    else:
        shutil.copytree(plain, place)
        damage_plain(place, how)
    if "zip" in kind:
        shutil.make_archive(str(folder / "s"), "zip", place)
        return str(folder / "s.zip")
    return f"file://{place}" if "url" in kind else str(place)


@pytest.mark.parametrize("how", ["flipped", "missing"])
@pytest.mark.parametrize("kind", ["folder", "packed", "zip", "packed zip", "url", "packed url", "h5"])
def test_damage_is_named_and_the_other_volumes_are_read(plain, tmp_path, kind, how):
    store, sound = open_store(damaged(plain, tmp_path, kind, how)), open_store(plain)
    named = r"volume p002/T1w, array 'cls': .*(missing|checksum).*verify"
    for entries in (store.entries, store.entries[VICTIM:], store.entries[VICTIM : VICTIM + 1]):
        with pytest.raises(StoreError, match=named):
            store.read("cls", entries)
    with pytest.raises(StoreError, match=named):
        store.read_slices("cls", store.entries[VICTIM], [9, 4])
    others = [*range(VICTIM), *range(VICTIM + 1, len(LENGTHS))]
    np.testing.assert_array_equal(
        store.read("cls", [store.entries[i] for i in others]),
        sound.read("cls", [sound.entries[i] for i in others]),
    )
    np.testing.assert_array_equal(
        store.read_slices("cls", store.entries[VICTIM], [10, 0]),
        sound.read_slices("cls", sound.entries[VICTIM], [10, 0]),
    )
