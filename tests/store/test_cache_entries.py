"""Entries are columns that behave as the list of objects that they stand for."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_store import example_key

from cache_schema.common.errors import StoreError
from cache_schema.files import lines as lines_module
from cache_schema.files.lines import Lines
from cache_schema.files.objects import LocalObjects
from cache_schema.format.identity import VolumeKey
from cache_schema.store.reading.entries import Entries, VolumeEntry
from cache_schema.store.reading.records import Picked

KEYS = st.builds(VolumeKey, *[st.sampled_from(["", "a", "b", "sub-\u00e9"])] * 3)


def columns(entries):
    keys = list(zip(*(entry.key.as_list() for entry in entries), strict=True)) or [(), (), ()]
    return Entries(
        *keys, [e.row for e in entries], [e.n_slices for e in entries], [e.digest for e in entries]
    )


@settings(deadline=None)
@given(keys=st.sets(KEYS, max_size=9), data=st.data())
def test_entries_are_a_list_of_entries(keys, data):
    rows = data.draw(st.permutations(range(2, 2 + len(keys))))
    plain = [VolumeEntry(key, row, row + 1, f"d{row}") for key, row in zip(sorted(keys), rows, strict=True)]
    entries = columns(plain)
    assert len(entries) == len(plain)
    assert list(entries) == [entries[place] for place in range(len(plain))] == plain
    assert entries == tuple(plain)
    assert entries != plain[1:] or not plain
    start, stop = data.draw(st.tuples(st.integers(-9, 9), st.integers(-9, 9)))
    assert entries[start:stop] == tuple(plain[start:stop])
    assert entries[::-2] == tuple(plain[::-2])
    for key in data.draw(st.lists(KEYS, max_size=5)):
        place = entries.find(key)
        assert (place is None) == (key not in keys)
        assert place is None or plain[place].key == key
    chosen = data.draw(st.lists(st.sampled_from(plain), max_size=5)) if plain else []
    assert [plain[place] for place in entries.places(chosen)] == chosen


def entry(number, row=None, n=3):
    return VolumeEntry(example_key(number), number if row is None else row, n, f"digest {number}")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([entry(2), entry(1)], "p002/T1w is not sorted"),
        ([entry(1), entry(1, row=7)], "p001/T1w is there twice"),
        ([entry(1), entry(2, row=1)], "p001/T1w and p002/T1w have the same row 1"),
        ([entry(1, row=-1)], "the row -1"),
        ([entry(1, row=10**30)], "the row 1000"),
        ([entry(1, n=10**12)], "the number of slices 1000000000000"),
    ],
)
def test_columns_that_contradict_themselves_are_refused(given, says):
    with pytest.raises(StoreError, match=says):
        columns(given)


def test_entries_of_another_store_are_refused():
    entries = columns([entry(1), entry(2)])
    for foreign in (entry(3), VolumeEntry(example_key(1), 1, 3, "another digest")):
        with pytest.raises(StoreError, match="not of this store"):
            entries.places([entry(1), foreign])
    with pytest.raises(StoreError, match="not of this store"):
        columns([]).places([entry(1)])
    assert list(columns([]).places([])) == []


@settings(deadline=None)
@given(data=st.binary(max_size=40).map(lambda data: data.replace(b"a", b"\n")), at_once=st.integers(1, 9))
def test_lines_are_those_of_the_object(tmp_path_factory, data, at_once):
    folder = tmp_path_factory.mktemp("lines")
    (folder / "x").write_bytes(data)
    was, lines_module.AT_ONCE = lines_module.AT_ONCE, at_once
    try:
        lines = Lines(LocalObjects(folder), "x")
        wanted = data.split(b"\n")[: -1 if data.endswith(b"\n") or not data else None]
        assert list(lines) == wanted
        assert lines[::-1] == wanted[::-1]
    finally:
        lines_module.AT_ONCE = was
    assert list(Lines(LocalObjects(folder), "absent")) == []


def test_picked_is_what_was_picked():
    picked = Picked("abcdef", [4, 0, 0, 2])
    assert "".join(picked) == "eaac"
    assert "".join(picked[1:]) == "aac"
    assert len(picked) == 4
