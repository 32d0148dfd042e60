"""Tombstones: what they say, in which forms they travel, and what a reader leaves out."""

import json
import os
import shutil
import socket

import pytest
from made_up_store import (
    example_arrays,
    example_draft,
    example_header,
    example_key,
    example_row,
    tiny_png,
    zipped,
)

from cache_schema.common.errors import ParticipantWithdrawn, StoreError
from cache_schema.files.objects import LocalObjects
from cache_schema.format.canonical import is_canonical
from cache_schema.format.identity import VolumeKey
from cache_schema.format.layout import WITHDRAWN, record_name
from cache_schema.format.tombstone import Tombstone, salted_hash
from cache_schema.move.export import export_store, import_store, prepare_pseudonyms
from cache_schema.move.pack import pack, unpack
from cache_schema.move.remove import readmit, remove_participant
from cache_schema.store.describe import describe_store, description_text
from cache_schema.store.reader import open_store
from cache_schema.store.seal import seal
from cache_schema.store.withdrawn import Tombstones, bury, read_tombstones, withdraw_rows
from cache_schema.store.writer import StoreWriter
from cache_schema.verify.verify import verify_store

HEADER = example_header(("cls",), slice_chunk=3)
KEYS = [example_key(n) for n in range(4)]
GONE, GONE_TOO = "p001", "p002"


def fill(location, keys=KEYS):
    writer = StoreWriter.open(location, HEADER, [example_row(key, 9) for key in keys])
    for key in keys:
        n = KEYS.index(key)
        writer.commit(example_draft(key, 4 + n), example_arrays(HEADER, 4 + n, n), preview=tiny_png(n))
    return writer


@pytest.fixture
def location(tmp_path):
    """A store from which one of four was removed."""
    location = str(tmp_path / "store.zarr")
    fill(location)
    remove_participant(location, GONE)
    return location


def names(location):
    return sorted(os.listdir(f"{location}/{WITHDRAWN}"))


def said(location):
    """Who is said to be withdrawn, of everybody that one could think of."""
    tombstones = open_store(location).tombstones()
    return [key.participant_id for key in KEYS if tombstones.hold(key.participant_id)]


def test_a_tombstone_says_no_name_and_can_be_asked(location):
    (name,) = names(location)
    with open(f"{location}/{WITHDRAWN}/{name}", "rb") as file:
        data = file.read()
    raw = json.loads(data)
    assert raw.keys() == {"salt", "participant_sha256"}
    assert is_canonical(data)
    assert name == f"{raw['participant_sha256']}.json"
    assert raw["participant_sha256"] == salted_hash(raw["salt"], GONE)
    assert GONE.encode() not in data
    assert said(location) == [GONE]


def test_two_stores_call_one_participant_differently(tmp_path, location):
    other = str(tmp_path / "other.zarr")
    fill(other)
    remove_participant(other, GONE)
    assert names(other) != names(location)


def test_tombstones_of_a_store_share_a_salt(location):
    remove_participant(location, GONE_TOO)
    assert len(names(location)) == 2
    assert len({t.salt for t in open_store(location).tombstones().by_name.values()}) == 1
    assert said(location) == [GONE, GONE_TOO]


def test_two_salts_are_two_and_readmission_finds_both(location):
    """Two first removals of one moment know nothing of each other."""
    objects = LocalObjects(location)
    other = Tombstone.of(GONE)
    objects.put(f"{WITHDRAWN}/{other.participant_sha256}.json", other.model_dump_json().encode())
    assert len(read_tombstones(objects)) == 2
    assert said(location) == [GONE]
    readmit(location, [GONE])
    assert said(location) == []
    assert names(location) == []


def test_a_store_of_before_has_none(tmp_path):
    location = str(tmp_path / "store.zarr")
    fill(location)
    assert len(open_store(location).tombstones()) == 0
    assert not os.path.exists(f"{location}/{WITHDRAWN}")
    assert "taken out" not in description_text(describe_store(location))
    with pytest.raises(StoreError, match="was not withdrawn"):
        readmit(location, [GONE])


@pytest.mark.parametrize("form", ["packed", "unpacked again", "exported", "imported", "zipped", "sealed"])
def test_every_form_keeps_them(tmp_path, location, form):
    place = str(tmp_path / "other.h5")
    if form in ("packed", "unpacked again"):
        place = location
        pack(location)
        if form == "unpacked again":
            unpack(location)
    elif form == "zipped":
        place = zipped(location)
    elif form == "sealed":
        seal(location)
        place = location
    else:
        export_store(location, place)
    if form == "imported":
        import_store(place, str(tmp_path / "back.zarr"))
        place = str(tmp_path / "back.zarr")
        with pytest.raises(ParticipantWithdrawn, match=f"'{GONE}' was withdrawn from"):
            fill(place, [KEYS[1]])
    assert said(place) == [GONE]
    assert verify_store(place, full=True).problems == ()
    assert describe_store(place)["n_withdrawn"] == 1
    assert "1 participant was taken out" in description_text(describe_store(place))


def test_an_export_under_pseudonyms_has_none(tmp_path, location):
    place, table = str(tmp_path / "other.h5"), str(tmp_path / "table.tsv")
    export_store(location, place, pseudonyms=prepare_pseudonyms(location, place, table))
    assert len(open_store(place).tombstones()) == 0


@pytest.mark.parametrize("form", ["plain", "sealed", "packed", "exported"])
def test_what_a_removal_left_is_seen_by_nobody_and_named(tmp_path, form):
    """Killed after its first step: the tombstone holds."""
    location = str(tmp_path / "store.zarr")
    fill(location)
    if form == "sealed":
        seal(location)
    elif form == "packed":
        pack(location)
    elif form == "exported":
        export_store(location, str(tmp_path / "other.h5"))
        import_store(str(tmp_path / "other.h5"), str(tmp_path / "back.zarr"))
        location = str(tmp_path / "back.zarr")
    assert len(open_store(location).entries) == 4
    bury(LocalObjects(location), GONE)
    store = open_store(location)
    assert [entry.key for entry in store.entries] == [KEYS[0], KEYS[2], KEYS[3]]
    assert store.records()[1].key == KEYS[2]
    assert len(store.read("cls")) == 3
    assert [row.key for row in store.table()] == [KEYS[0], KEYS[2], KEYS[3]]
    with pytest.raises(StoreError, match="is not committed"):
        store.record(KEYS[1])
    found = {(p.volume, p.array) for p in verify_store(location).problems}
    assert found == {("p001/T1w", "record"), ("p001/T1w", "table")}
    advice = {p.advice for p in verify_store(location).problems}
    assert "cache remove STORE PARTICIPANT" in advice.pop()
    remove_participant(location, GONE)
    assert verify_store(location, full=True).problems == ()
    assert open_store(location).entries == store.entries


def test_undone_before_it_was_finished(tmp_path):
    location = str(tmp_path / "store.zarr")
    fill(location)
    before = open_store(location).content_digest()
    bury(LocalObjects(location), GONE)
    readmit(location, [GONE])
    assert open_store(location).content_digest() == before
    assert verify_store(location, full=True).problems == ()


def test_a_writer_that_is_open_writes_nothing_more_of_them(tmp_path):
    location = str(tmp_path / "store.zarr")
    writer = fill(location)
    remove_participant(location, GONE)
    with pytest.raises(ParticipantWithdrawn, match="--readmit"):
        writer.commit(example_draft(KEYS[1], 5), example_arrays(HEADER, 5, 1))
    assert verify_store(location, full=True).problems == ()
    again = StoreWriter.open(location, HEADER, [example_row(key, 9) for key in KEYS])
    assert set(again.rows) == {KEYS[0], KEYS[2], KEYS[3]}
    assert open_store(location).entry(KEYS[3]).row == 3


def test_what_a_killed_writer_left_is_found_by_the_next_removal(location):
    """Data and preview in a row that was withdrawn, of a commit that never came to its second look."""
    shutil.copy(f"{location}/cls/c.0.0.0", f"{location}/cls/c.1.0.0")
    preview = f"previews/{KEYS[1].digest[:2]}/{KEYS[1].digest}.png"
    LocalObjects(location).put(preview, b"png")
    assert not verify_store(location, full=True).ok
    remove_participant(location, GONE)
    assert verify_store(location, full=True).problems == ()


def test_somebody_of_whom_only_a_failure_is_known(tmp_path):
    from cache_schema.format.record import Failure

    location = str(tmp_path / "store.zarr")
    fill(location).fail(
        Failure(participant_id="x", session_id="", volume_id="T1w", path="x.nii", reason="why")
    )
    remove_participant(location, "x")
    assert open_store(location).failures() == ()
    assert open_store(location).tombstones().hold("x")


def test_the_tombstone_comes_before_anything_that_may_refuse(tmp_path):
    """Somebody writes: the removal waits, but who was withdrawn is not embedded any more."""
    location = str(tmp_path / "store.zarr")
    fill(location)
    live = f"{location}/tmp/write~{socket.gethostname()}~{os.getpid()}~b"
    with open(live, "wb"):
        pass
    with pytest.raises(StoreError, match="'p001' is withdrawn already and is not embedded any more"):
        remove_participant(location, GONE)
    assert said(location) == [GONE]
    assert GONE not in {entry.key.participant_id for entry in open_store(location).entries}
    os.unlink(live)
    assert remove_participant(location, GONE).volumes == (KEYS[1],)


def test_a_packer_that_was_slower_than_a_removal_puts_the_old_store_back(tmp_path, monkeypatch):
    """The tombstone alone is enough: no record has gone yet."""
    from cache_schema.move import pack as module

    location = str(tmp_path / "store.zarr")
    fill(location)
    real = module.sync_tree
    monkeypatch.setattr(
        module, "sync_tree", lambda folder: (real(folder), bury(LocalObjects(location), GONE))
    )
    with pytest.raises(StoreError, match="is being written to"):
        pack(location)
    assert said(location) == [GONE]
    assert os.path.exists(f"{location}/{record_name(KEYS[1])}")


def test_rows_follow_tombstones_whoever_wrote_the_table_last(tmp_path, monkeypatch):
    """Two removals: the slower puts a segment back that still has the row of the faster's."""
    location = str(tmp_path / "store.zarr")
    fill(location)
    objects, real, stale = LocalObjects(location), LocalObjects.put, []
    bury(objects, GONE)

    def put(self, name, data):
        if name.startswith("table/") and not stale:
            stale.append(name)
            bury(self, GONE_TOO)
            withdraw_rows(self)
        real(self, name, data)

    monkeypatch.setattr(LocalObjects, "put", put)
    withdraw_rows(objects)
    assert stale
    assert [row.key for row in open_store(location).table()] == [KEYS[0], KEYS[3]]
    assert [p.array for p in verify_store(location).problems].count("table") == 0


def test_nobody_is_held_by_no_tombstone():
    tombstones = Tombstones()
    assert not tombstones.hold("")
    assert tombstones.names_of(GONE) == []


def test_nobody_returns_in_another_spelling(tmp_path):
    header, keys = example_header(("cls",)), [VolumeKey("sub-a1", "", "T1w"), VolumeKey("sub-b2", "", "T1w")]
    rows = [example_row(key, 3) for key in keys]
    location = str(tmp_path / "s.zarr")
    writer = StoreWriter.open(location, header, rows)
    for key in keys:
        writer.commit(example_draft(key, 3), example_arrays(header, 3))
    removal = remove_participant(location, "SUB-\uff211\u200b")
    assert removal.volumes == (keys[0],)
    for name in ("sub-a1", "SUB-A1", "sub-\uff411"):
        assert open_store(location).tombstones().hold(name)
    assert not open_store(location).tombstones().hold("sub-b2")
    writer = StoreWriter.open(location, header, [example_row(VolumeKey("Sub-A1", "", "T1w"), 3)])
    assert list(writer.rows) == [keys[1]]
