"""A merge holds what its stores hold, whatever their order and form; what cannot be pooled is named."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

import numpy as np
import pytest
from attacks.scene import ARCHIVE, ROOT, run
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_centres import files_of, fill, people, sound
from made_up_store import (
    example_header,
    example_key,
    example_row,
    zipped,
)

from cache_schema.common.errors import MachineError, StoreError, StoreMismatch
from cache_schema.format.identity import VolumeKey
from cache_schema.move.export import export_store
from cache_schema.move.merging.merge import merge_stores
from cache_schema.move.merging.subset import subset_store
from cache_schema.move.pack import pack
from cache_schema.move.remove import remove_participant
from cache_schema.store.reader import open_store
from cache_schema.store.seal import seal
from cache_schema.store.writer import StoreWriter
from cache_schema.verify.verify import verify_store


def test_two_halves_are_the_store_of_all(tmp_path):
    whole = fill(tmp_path / "whole", range(6))
    a, b = fill(tmp_path / "a", [4, 0, 2]), fill(tmp_path / "b", [5, 3, 1])
    made = merge_stores([a, b], str(tmp_path / "out"))
    out, one = sound(made.location), open_store(whole)
    assert made.content_digest == out.content_digest() == one.content_digest()
    assert (made.n_volumes, made.n_participants, made.inputs, made.sealed) == (6, 6, {a: 3, b: 3}, True)
    assert out.header == one.header
    assert [entry.row for entry in out.entries] == list(range(6))
    for spec in one.header.arrays:
        np.testing.assert_array_equal(out.read(spec.name), one.read(spec.name))
    for key in map(example_key, range(6)):
        ours, theirs = out.record(key), one.record(key)
        assert ours.sha256 == ours.self_hash()
        unsigned = {"row": 0, "sha256": "", "seconds": {}}
        assert ours.model_copy(update=unsigned) == theirs.model_copy(update=unsigned)
        assert out.preview(key) == one.preview(key)
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "out", "whole"]


@given(
    home=st.lists(st.sets(st.integers(0, 2), min_size=1), min_size=6, max_size=6),
    state=st.lists(st.sampled_from(["done", "done", "failed", "pending"]), min_size=6, max_size=6),
    order=st.permutations(range(3)),
)
@settings(max_examples=15, deadline=None)
def test_any_partition_in_any_order_is_the_whole_and_merging_again_changes_nothing(home, state, order):
    state[0] = "done"
    with tempfile.TemporaryDirectory() as folder:
        by = {what: [n for n in range(6) if state[n] == what] for what in ("done", "failed", "pending")}
        whole = fill(f"{folder}/whole", by["done"], failed=by["failed"], pending=by["pending"])
        one = files_of(merge_stores([whole], f"{folder}/one").location)
        parts = []
        for part in range(3):
            chosen = [example_key(n).participant_id for n in range(6) if part in home[n]]
            if any(state[n] == "done" for n in range(6) if part in home[n]):
                parts.append(f"{folder}/{part}")
                subset_store(whole, parts[-1], participants=chosen)
        missing = [n for n in range(6) if not any(f"{folder}/{part}" in parts for part in home[n])]
        parts = [f"{folder}/{part}" for part in order if f"{folder}/{part}" in parts]
        made = merge_stores(parts, f"{folder}/merged")
        if not missing:
            assert files_of(made.location) == one
        again = merge_stores([made.location, *parts], f"{folder}/again")
        assert files_of(again.location) == files_of(made.location)
        assert verify_store(made.location, full=True).problems == ()


def test_every_form_that_the_reader_opens_merges(tmp_path, serve):
    forms = [fill(tmp_path / str(n), [n]) for n in range(5)]
    seal(forms[0])
    seal(forms[1])
    pack(forms[1])
    forms[2] = zipped(fill(tmp_path / "2.zarr", [2]))
    export_store(forms[3], str(tmp_path / "3.h5"))
    forms[3] = str(tmp_path / "3.h5")
    seal(forms[4])
    forms[4] = f"{serve(tmp_path).url}/4"
    made = merge_stores(forms, str(tmp_path / "out"))
    assert made.content_digest == open_store(fill(tmp_path / "all", range(5))).content_digest()
    sound(made.location)


@pytest.mark.parametrize("name", ["sealed.zarr", "unsealed.zarr", "packed.zarr", "store.zip", "store.h5"])
def test_the_archive_of_version_1_merges(tmp_path, name):
    old = str(ARCHIVE / name)
    sealed = open_store(ARCHIVE / "sealed.zarr")
    made = merge_stores([old, sealed.location], str(tmp_path / "out"))
    assert made.content_digest == sealed.content_digest()
    assert made.twice == len(open_store(old).entries)
    sound(made.location)
    subset_store(old, str(tmp_path / "part"), participants=["sub-03"], arrays=["cls"])
    assert people(sound(str(tmp_path / "part")).location) == ["sub-03"]


def test_the_same_volume_is_there_once_and_other_numbers_are_a_conflict(tmp_path):
    a, b = fill(tmp_path / "a", [0, 1]), fill(tmp_path / "b", [1, 2])
    assert merge_stores([a, b], str(tmp_path / "ab")).twice == 1
    other = fill(tmp_path / "c", [2, 1], shift=0.5)
    with pytest.raises(
        StoreError, match=r"2 volumes .* the first p001/T1w: its digest is [0-9a-f]{12} in .*c'"
    ):
        merge_stores([str(tmp_path / "ab"), other], str(tmp_path / "x"))
    assert not (tmp_path / "x").exists()


def test_other_fingerprints_and_arrays_are_refused_with_both_values(tmp_path):
    a = fill(tmp_path / "a", [0])
    for header, said in (
        (
            example_header(quantile=98.0, slice_chunk=5),
            r"preprocessing\[percentile\].high is 99.5 here and 98.0",
        ),
        (example_header(weights="x", slice_chunk=5), "weights_sha256 is '"),
        (
            example_header(("cls",), slice_chunk=5),
            r"other arrays: the array patch_mean is here only\. .*--arrays",
        ),
        (
            example_header(storage="float32", slice_chunk=5),
            "arrays.cls.dtype is 'float16' here and 'float32' there",
        ),
    ):
        shutil.rmtree(tmp_path / "b", ignore_errors=True)
        b = fill(tmp_path / "b", [1], header=header)
        with pytest.raises(StoreMismatch, match=said):
            merge_stores([a, b], str(tmp_path / "x"), mixed_numerics=True)


def test_failures_merge_and_what_is_committed_anywhere_did_not_fail(tmp_path):
    a, b = fill(tmp_path / "a", [0], failed=[1, 2]), fill(tmp_path / "b", [1], failed=[2], pending=[3])
    made = merge_stores([a, b], str(tmp_path / "out"))
    out = sound(made.location)
    assert (people(made.location), [f.participant_id for f in out.failures()]) == (["p000", "p001"], ["p002"])
    assert [row.participant_id for row in out.table()] == ["p000", "p001", "p002", "p003"]
    assert (made.failed, made.pending, made.sealed, out.sealed) == (1, 1, False, False)
    assert "1 failed; 1 were planned and are not done" in made.in_words()


def test_whoever_was_withdrawn_anywhere_is_left_out_and_stays_out(tmp_path):
    a, b = fill(tmp_path / "a", [0, 1, 2]), fill(tmp_path / "b", [1, 3])
    remove_participant(a, "p001")
    remove_participant(b, "p003")
    made = merge_stores([a, b, fill(tmp_path / "c", [4], failed=[3])], str(tmp_path / "out"))
    out = sound(made.location)
    assert people(made.location) == ["p000", "p002", "p004"]
    assert made.left_out == ("p001/T1w", "p003/T1w")
    assert all(out.tombstones().hold(who) for who in ("p001", "P003"))
    writer = StoreWriter.open(made.location, out.header, [example_row(example_key(1), 3)])
    assert example_key(1) not in writer.rows


def test_a_withdrawal_during_a_merge_stops_it(tmp_path):
    a, b = fill(tmp_path / "a", [0, 1]), fill(tmp_path / "b", [2, 3])

    def withdraw(done, total):
        if done == 2:
            remove_participant(a, "p000")

    with pytest.raises(StoreError, match=r"withdrawn from .*a' meanwhile"):
        merge_stores([a, b], str(tmp_path / "out"), progress=withdraw)
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (VolumeKey("P000", "", "T1w"), "two participants .*'P000' in .*b' and 'p000' in .*a'"),
        (VolumeKey("p000", "", "t1w"), "two volumes of 'p000' .*'T1w' in .*a' and 't1w' in .*b'"),
    ],
)
def test_ids_that_only_look_different_are_refused(tmp_path, other, what):
    a, b = fill(tmp_path / "a", [0]), fill(tmp_path / "b", [1], keys={1: other})
    with pytest.raises(StoreError, match=what):
        merge_stores([a, b], str(tmp_path / "x"))


def test_one_image_under_two_participants_is_a_note(tmp_path):
    a = fill(tmp_path / "a", [0, 1])
    b = fill(tmp_path / "b", [0], keys={0: example_key(77)})
    made = merge_stores([a, b], str(tmp_path / "out"))
    assert made.lookalikes == (("p000/T1w", "p077/T1w"),)
    assert "one person at two centres" in made.in_words()
    assert merge_stores([a], str(tmp_path / "alone")).lookalikes == ()


def test_provenance_of_all_is_kept_and_chunks_are_the_longest(tmp_path):
    headers = [example_header(slice_chunk=n, created={"host": f"centre-{n}"}) for n in (4, 9, 5)]
    stores = [fill(tmp_path / str(n), [n], header=header) for n, header in enumerate(headers)]
    both = merge_stores(stores[:2], str(tmp_path / "both"))
    made = open_store(merge_stores([stores[2], both.location], str(tmp_path / "out")).location)
    assert made.header.created == {"merged": [{"host": f"centre-{n}"} for n in (4, 5, 9)]}
    assert made.header.slice_chunk == 9
    sound(made.location)


def test_damaged_numbers_are_not_merged(tmp_path):
    a, b = fill(tmp_path / "a", [0, 1]), fill(tmp_path / "b", [2])
    shutil.copy(tmp_path / "a" / "cls" / "c.0.0.0", tmp_path / "a" / "cls" / "c.1.0.0")
    with pytest.raises(StoreError, match="p001/T1w, array 'cls'"):
        merge_stores([a, b], str(tmp_path / "out"))
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_places_are_asked_for_first(tmp_path, monkeypatch):
    a = fill(tmp_path / "a", [0])
    for out, said in (
        (a, "is there already"),
        (str(tmp_path / "x.h5"), "a folder"),
        ("s3://b/x", "a folder"),
    ):
        with pytest.raises(StoreError, match=said):
            merge_stores([a], out)
    fill(tmp_path / "none", [], pending=[1])
    with pytest.raises(StoreError, match="no committed volume"):
        merge_stores([str(tmp_path / "none")], str(tmp_path / "x"))
    with pytest.raises(StoreError, match="no committed volume"):
        subset_store(fill(tmp_path / "f", [0], failed=[1]), str(tmp_path / "x"), participants=["p001"])
    full = os.statvfs(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result((*full[:3], 0, 0, *full[5:])))
    with pytest.raises(MachineError, match="no room for the new store"):
        merge_stores([a], str(tmp_path / "x"))


DIES = """
import os, signal, sys
from cache_schema.move.merging.merge import merge_stores

def die(done, total):
    if done == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)

merge_stores(sys.argv[3:], sys.argv[2], progress=die)
"""


@pytest.mark.parametrize("at", [1, 3])
def test_a_killed_merge_leaves_nothing_that_looks_like_a_store(tmp_path, at):
    stores = [fill(tmp_path / "a", [0, 1]), fill(tmp_path / "b", [2])]
    out = str(tmp_path / "out")
    done = subprocess.run([sys.executable, "-c", DIES, str(at), out, *stores], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    left = [name for name in os.listdir(tmp_path) if name not in "ab"]
    assert [name.startswith(".out.writing~") for name in left] == [True]
    sound(merge_stores(stores, out).location)
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "out"]


def test_the_command_says_what_it_made(tmp_path):
    a, b = fill(tmp_path / "a", [0, 1], failed=[4]), fill(tmp_path / "b", [1, 2])
    answer = run("cache merge", [b, a, "--out", str(tmp_path / "out")])
    digest = open_store(tmp_path / "out").content_digest()
    assert answer.code == 0
    assert answer.out.splitlines() == [
        f"{tmp_path / 'out'}: 3 volumes of 3 participants from 2 stores, content digest {digest}",
        "1 were in several stores with equal digests and are there once; 1 failed",
    ]
    answer = run(
        "cache subset", [str(tmp_path / "out"), str(tmp_path / "x"), "--participants", "p002", "--json"]
    )
    assert json.loads(answer.out)["n_volumes"] == 1
    assert run("cache merge", ["--out", str(tmp_path / "y")]).code == 2
    assert run("cache merge", [a]).code == 2
