"""Pseudonyms: nothing of the ids is left, what belongs together stays so, and the table makes them stable."""

import contextlib
import csv
import io
import json
import stat

import h5py
import numpy as np
import pytest
from made_up_store import example_arrays, example_draft, example_header, example_row

from cache_schema.cli import cache
from cache_schema.common.errors import ConfigError, StoreError
from cache_schema.common.terminal.command import as_command
from cache_schema.format.identity import VolumeKey
from cache_schema.move.pseudonyms import Pseudonyms, read_pseudonyms
from cache_schema.store.reader import open_store
from cache_schema.store.writer import StoreWriter
from cache_schema.verify.verify import verify_store

KEYS = [
    VolumeKey("anna", "visit-10", "T1w"),
    VolumeKey("anna", "visit-2", "T1w"),
    VolumeKey("anna", "visit-2", "ANNA_scan"),
    VolumeKey("bert", "", "T1w"),
    VolumeKey("cleo", "visit-2", "T1w"),
]


@pytest.fixture
def store(tmp_path):
    header = example_header(("cls", "patches"), grid=(2, 3), slice_chunk=4)
    writer = StoreWriter.open(str(tmp_path / "s"), header, [example_row(key, 9) for key in KEYS])
    for seed, key in enumerate(KEYS):
        writer.commit(example_draft(key, 3 + seed), example_arrays(header, 3 + seed, seed))
    return open_store(tmp_path / "s")


def call(*arguments):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        as_command("cache", cache).main(args=[str(given) for given in arguments], standalone_mode=False)
    return printed.getvalue()


def mapping_of(path):
    with open(path, newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))
    return {VolumeKey(*row[:3]): VolumeKey(*row[3:]) for row in rows[1:]}


def test_ids_are_gone_and_the_numbers_are_the_same(tmp_path, store):
    out = json.loads(call("export", store.location, tmp_path / "x.h5", "--pseudonymise", "--json"))
    mapping = mapping_of(tmp_path / "x.h5.pseudonyms.tsv")
    assert out["mapping"] == str(tmp_path / "x.h5.pseudonyms.tsv")
    assert stat.S_IMODE((tmp_path / "x.h5.pseudonyms.tsv").stat().st_mode) == 0o600
    other = open_store(tmp_path / "x.h5")
    assert out["content_digest"] == other.content_digest() != store.content_digest()
    assert verify_store(str(tmp_path / "x.h5")).problems == ()
    assert mapping.keys() == set(KEYS)
    for old, new in mapping.items():
        np.testing.assert_array_equal(other.read_volume("cls", new), store.read_volume("cls", old))
    data = (tmp_path / "x.h5").read_bytes().lower()
    assert not [word for word in (b"anna", b"bert", b"cleo", b"visit") if word in data]
    files = {store.record(key).source.sha256 for key in KEYS}
    assert not files & {record.source.sha256 for record in other.records()}
    assert not [digest for digest in files if digest.encode() in data]
    assert [e.row for e in other.entries] == list(range(5))


def test_people_sessions_and_their_order_survive(store):
    pseudonyms = Pseudonyms()
    pseudonyms.cover(KEYS)
    new = [pseudonyms.key(key) for key in KEYS]
    assert new[0].participant_id == new[1].participant_id == new[2].participant_id
    assert len({key.participant_id for key in new}) == 3
    assert [key.session_id for key in new] == ["02", "01", "01", "", "01"]
    assert [key.volume_id for key in new] == ["T1w", "T1w", "volume-1", "T1w", "T1w"]


def test_the_table_of_an_earlier_export_is_used_again(tmp_path, store):
    table = tmp_path / "kept.tsv"
    first = Pseudonyms()
    first.cover(KEYS[1:4])
    first.save(table)
    call("export", store.location, tmp_path / "y.h5", "--pseudonymise", "--mapping", table)
    later = mapping_of(table)
    for key in KEYS[1:4]:
        assert later[key] == first.key(key)
    assert later[KEYS[0]].participant_id == first.key(KEYS[1]).participant_id
    assert {entry.key for entry in open_store(tmp_path / "y.h5").entries} == set(later.values())
    table.write_text("a\tb\n1\t2\n")
    with pytest.raises(StoreError, match="no table of pseudonyms"):
        read_pseudonyms(table)
    with pytest.raises(StoreError, match="has no pseudonym"):
        Pseudonyms().key(KEYS[0])


def test_volumes_of_one_source_file_still_share_a_digest(store):
    pseudonyms = Pseudonyms()
    record = store.record(KEYS[0])
    other = record.model_copy(update={"participant_id": "x"})
    assert pseudonyms.record(record).source == pseudonyms.record(other).source
    assert pseudonyms.record(record).source != Pseudonyms().record(record).source


def test_a_taken_name_leaves_no_table_behind(tmp_path, store):
    (tmp_path / "x.h5").touch()
    with pytest.raises(StoreError, match="is there already"):
        call("export", store.location, tmp_path / "x.h5", "--pseudonymise")
    assert not (tmp_path / "x.h5.pseudonyms.tsv").exists()


def test_volume_files_have_what_pathology_readers_look_for(tmp_path, store):
    said = json.loads(call("export", store.location, tmp_path / "v", "--format", "volumes", "--json"))
    assert (said["n_volumes"], said["content_digest"]) == (5, store.content_digest())
    record = store.record(KEYS[4])
    with h5py.File(tmp_path / "v" / "cleo_visit-2_T1w.h5") as file:
        np.testing.assert_array_equal(file["features"][:], store.read_volume("cls", KEYS[4]))
        assert file["features"].dtype == np.float32
        assert file["feats"].id == file["features"].id
        expected = [[0, round(1000 * height)] for height in record.slices.height_mm]
        assert file["coords"][:].tolist() == expected
        assert (file.attrs["unit"], file.attrs["tile_size_um"], file.attrs["feat_type"]) == (
            "um",
            2000,
            "tile",
        )
        assert file.attrs["fingerprint"] == store.header.fingerprint.digest
    with (tmp_path / "v" / "volumes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["slide_id"] + ".h5" for row in rows} | {"volumes.csv"} == {
        path.name for path in (tmp_path / "v").iterdir()
    }
    assert [(row["case_id"], row["n"]) for row in rows if row["case_id"] == "cleo"] == [("cleo", "7")]


def test_volume_files_of_patches_say_where_each_patch_lies(tmp_path, store):
    call("export", store.location, tmp_path / "v", "--format", "volumes", "--tokens", "patches")
    patches = store.read_volume("patches", KEYS[3])
    heights = store.record(KEYS[3]).slices.height_mm
    with h5py.File(tmp_path / "v" / "bert_T1w.h5") as file:
        features, coords = file["features"][:], file["coords"][:]
    place = 0
    for s, height in enumerate(heights):
        for row in range(2):
            for col in range(3):
                np.testing.assert_array_equal(features[place], patches[s, row, col])
                expected = [col * 70_000 / 3, row * 35_000, 1000 * height]
                np.testing.assert_allclose(coords[place], expected, atol=0.5)
                place += 1
    assert place == len(features) == len(coords)


def test_volume_files_that_cannot_be(tmp_path, store):
    with pytest.raises(StoreError, match="holds no tokens"):
        call("export", store.location, tmp_path / "v", "--format", "volumes", "--tokens", "foreground")
    header = example_header(("cls",))
    twins = [VolumeKey("a", "b_c", "T1w"), VolumeKey("a_b", "c", "T1w")]
    writer = StoreWriter.open(str(tmp_path / "t"), header, [example_row(key, 3) for key in twins])
    for key in twins:
        writer.commit(example_draft(key, 3), example_arrays(header, 3))
    with pytest.raises(StoreError, match=r"would share the file a_b_c_T1w\.h5"):
        call("export", tmp_path / "t", tmp_path / "v", "--format", "volumes")
    assert not (tmp_path / "v").exists()
    call("export", tmp_path / "t", tmp_path / "v", "--format", "volumes", "--pseudonymise")
    assert len(list((tmp_path / "v").glob("p*.h5"))) == 2


def test_options_that_go_nowhere_are_refused(tmp_path, store):
    with pytest.raises(ConfigError, match="--mapping is for --pseudonymise"):
        call("export", store.location, tmp_path / "x.h5", "--mapping", tmp_path / "t.tsv")
    with pytest.raises(ConfigError, match="holds no previews"):
        call("export", store.location, tmp_path / "v", "--format", "volumes", "--previews")
    with pytest.raises(ConfigError, match="--tokens is for --format volumes"):
        call("export", store.location, tmp_path / "x.h5", "--tokens", "cls")


def test_an_earlier_export_is_replaced_by_the_command_with_its_pseudonyms(tmp_path, store):
    call("export", store.location, tmp_path / "x.h5", "--pseudonymise")
    ids = [entry.key for entry in open_store(tmp_path / "x.h5").entries]
    with pytest.raises(StoreError, match="is there already"):
        call("export", store.location, tmp_path / "x.h5", "--pseudonymise")
    call("export", store.location, tmp_path / "x.h5", "--pseudonymise", "--replace", "--previews")
    assert [entry.key for entry in open_store(tmp_path / "x.h5").entries] == ids
    with pytest.raises(ConfigError, match="--replace is for one file"):
        call("export", store.location, tmp_path / "v", "--format", "volumes", "--replace")


def test_export_and_import_from_the_command(tmp_path, store):
    words = call("export", store.location, tmp_path / "x.h5")
    assert store.content_digest() in words
    said = json.loads(call("import", tmp_path / "x.h5", tmp_path / "back.zarr", "--json"))
    assert said["content_digest"] == store.content_digest()
    assert json.loads(call("inspect", tmp_path / "x.h5", "--json"))["n_volumes"] == 5
