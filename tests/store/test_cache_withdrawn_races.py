"""However commits, removals, readmissions and seals interleave, nothing of a withdrawn participant remains.

Actors take turns at every operation on the store's objects (`interleaving.py`), in orders drawn from seeds:
a few long turns each, since it takes one or two switches at the right place to find a race.
"""

import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from interleaving import taking_turns
from made_up_store import example_arrays, example_draft, example_header, example_row, tiny_png

from cache_schema.common.errors import ParticipantWithdrawn, StoreError
from cache_schema.files.objects import LocalObjects
from cache_schema.format.identity import VolumeKey
from cache_schema.format.layout import SEALED_INDEX, SEALED_RECORDS
from cache_schema.format.record import Failure, VolumeRecord
from cache_schema.move.remove import readmit, remove_participant
from cache_schema.store.commit import unseal
from cache_schema.store.reader import open_store
from cache_schema.store.seal import seal
from cache_schema.store.withdrawn import bury, withdraw_rows
from cache_schema.store.writer import StoreWriter
from cache_schema.verify.verify import verify_store

HEADER = example_header(("cls",), dim=3, slice_chunk=2)
GONE = "withdrawn"
OLD, NEW = VolumeKey(GONE, "s1", "T1w"), VolumeKey(GONE, "s2", "T1w")
"""Of the participant: one that was committed before, and one that is committed now."""
STAYS, LATER, LEAVES = (VolumeKey(name, "", "T1w") for name in ("a", "b", "c"))
"""Of others: there before, committed meanwhile, and removed beside the first in some scenarios."""
KEYS = (STAYS, OLD, NEW, LATER, LEAVES)
LENGTHS = {key: 3 + n for n, key in enumerate(KEYS)}


def arrays(key):
    return example_arrays(HEADER, LENGTHS[key], KEYS.index(key))


def opened(place):
    return StoreWriter.open(place, HEADER, [example_row(key, LENGTHS[key]) for key in KEYS])


def png(key):
    return tiny_png(int(key.digest[:2], 16))


def commit(writer, *keys):
    return [writer.commit(example_draft(key, LENGTHS[key]), arrays(key), png(key)) for key in keys]


def failure(key):
    names = dict(zip(("participant_id", "session_id", "volume_id"), key.as_list(), strict=True))
    return Failure(**names, path="x.nii.gz", reason="why")


def replaced(writer):
    writer.remove_record(OLD)
    return commit(writer, OLD)


def complete(place):
    """Everything is committed before anybody's turn."""
    commit(opened(place), LATER, NEW)
    return {}


def taken_back(place):
    remove_participant(place, GONE)
    readmit(place, [GONE])


SCENARIOS = {
    "a commit": lambda place, w, v: {"commit": lambda: commit(w, NEW)},
    "two writers": lambda place, w, v: {"commit": lambda: commit(w, NEW), "other": lambda: commit(v, LATER)},
    "two writers of one volume": lambda place, w, v: {
        "commit": lambda: commit(w, NEW),
        "twin": lambda: commit(v, NEW),
    },
    "an extraction that begins": lambda place, w, v: {"open": lambda: commit(opened(place), LATER, NEW)},
    "a replacement": lambda place, w, v: {"commit": lambda: replaced(w)},
    "a failure": lambda place, w, v: {"fail": lambda: w.fail(failure(NEW))},
    "a seal": lambda place, w, v: (
        complete(place) | {"commit": lambda: replaced(w), "seal": lambda: seal(place)}
    ),
    "a seal alone": lambda place, w, v: complete(place) | {"seal": lambda: seal(place)},
    "another removal": lambda place, w, v: {
        "commit": lambda: commit(w, NEW),
        "leave": lambda: remove_participant(place, LEAVES.participant_id),
    },
}
"""What goes on beside the removal; given the store and two open writers."""


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A store in which three volumes are committed and two are not yet."""
    place = str(tmp_path_factory.mktemp("template") / "store")
    commit(opened(place), STAYS, OLD, LEAVES)
    return place


def drawn(seed):
    """Turns of 1 to 30 operations, whose turn it is drawn again after each."""
    generator = random.Random(seed)
    state = {"whose": "", "left": 0}

    def choose(waiting, turn):
        if state["left"] <= 0 or state["whose"] not in waiting:
            state.update(whose=generator.choice(waiting), left=generator.randint(1, 30))
        state["left"] -= 1
        return state["whose"]

    return choose


def switched(first, operations, more=10**6):
    """So many operations of `first`, so many of another (all of them by default), then the rest."""

    def choose(waiting, turn):
        others = [name for name in waiting if name != first]
        mine = first in waiting and (not others or turn < operations or turn >= operations + more)
        return first if mine else others[0]

    return choose


def played(template, place, scenario, choose, removal=lambda place: remove_participant(place, GONE)):
    """One interleaving on a fresh copy of the store."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(template, place)
    actors = SCENARIOS[scenario](place, opened(place), opened(place)) | {"remove": lambda: removal(place)}
    with taking_turns(actors) as turns:
        turns.play(choose)
    for name, result in turns.results.items():
        if name in ("seal", "remove", "leave"):
            assert not isinstance(result, Exception) or isinstance(result, StoreError), result
        else:
            assert not isinstance(result, Exception) or isinstance(result, ParticipantWithdrawn), result
    return turns


def left_of(place, participant):
    """Where anything of a participant is still to be found."""
    keys = [key for key in KEYS if key.participant_id == participant]
    needles = [f'"{participant}"'.encode(), *(key.digest.encode() for key in keys)]
    needles += [arrays(key)["cls"][:2].astype("<f2").tobytes() for key in keys]
    files = [Path(folder, name) for folder, _, names in os.walk(place) for name in names]
    return [
        str(file.relative_to(place))
        for file in files
        if any(needle in file.read_bytes() or needle.decode("latin1") in file.name for needle in needles)
    ]


def check(place, turns):
    """The law: nothing of who was withdrawn, everything of the others, and a store that verifies."""
    assert left_of(place, GONE) == [], turns.trace
    verification = verify_store(place, full=True)
    assert verification.problems == (), turns.trace
    store = open_store(place)
    expected = {STAYS}
    if isinstance(turns.results.get("other"), list):
        expected.add(LATER)
    if "leave" in turns.results:
        assert left_of(place, LEAVES.participant_id) == [], turns.trace
    else:
        expected.add(LEAVES)
    found = {entry.key for entry in store.entries}
    assert expected <= found <= expected | {LATER}, turns.trace
    assert_numbers(store)


def assert_numbers(store):
    """Every volume that can be read is what was committed, to the last bit."""
    for entry in store.entries:
        stored = arrays(entry.key)["cls"].astype(np.float16)
        np.testing.assert_array_equal(store.read_volume("cls", entry.key), stored)
        assert store.preview(entry.key) == png(entry.key)


def interleavings(template, place, each):
    """Play every scenario in many orders; the traces, each checked."""
    traces = set()
    for number, scenario in enumerate(SCENARIOS):
        for seed in range(each):
            turns = played(template, place, scenario, drawn(1000 * number + seed))
            check(place, turns)
            traces.add((scenario, turns.trace))
    for operations in range(0, 60, 2):
        for first in ("commit", "remove"):
            turns = played(template, place, "a commit", switched(first, operations))
            check(place, turns)
            traces.add(("a commit", turns.trace))
    return traces


def test_nothing_remains_in_a_hundred_interleavings(template, tmp_path):
    found = interleavings(template, str(tmp_path / "store"), each=10)
    assert len(found) >= 100, len(found)


@pytest.mark.slow
def test_nothing_remains_in_many_interleavings(template, tmp_path):
    assert len(interleavings(template, str(tmp_path / "store"), each=100)) >= 650


def no_second_look(monkeypatch):
    monkeypatch.setattr(StoreWriter, "_look_again", lambda self, record: None)
    return "a commit", [drawn(seed) for seed in range(30)]


def no_second_look_at_rows(monkeypatch):
    monkeypatch.setattr("cache_schema.store.writing.give_rows.withdraw_rows", lambda objects: None)
    return "an extraction that begins", [switched("open", operations) for operations in range(12)]


def tombstone_last(monkeypatch):
    monkeypatch.setattr("cache_schema.move.remove.bury", lambda objects, participant: None)
    monkeypatch.setattr(
        "cache_schema.move.remove.withdraw_rows",
        lambda objects: (bury(objects, GONE), withdraw_rows(objects)),
    )
    return "a commit", [switched("remove", operations) for operations in range(60)]


@pytest.mark.parametrize("mutate", [no_second_look, no_second_look_at_rows, tombstone_last])
def test_without_a_guard_something_remains(template, tmp_path, monkeypatch, mutate):
    """The interleavings above can fail: each guard is taken out in turn."""
    scenario, orders = mutate(monkeypatch)
    place, found = str(tmp_path / "store"), 0
    for choose in orders:
        turns = played(template, place, scenario, choose)
        try:
            check(place, turns)
        except AssertionError:
            found += 1
            break
    assert found > 0


def test_taken_back_while_a_commit_is_on_its_way(template, tmp_path):
    """The row is gone under a commit that began before; it comes to nothing, the next extraction has all."""
    place = str(tmp_path / "store")
    orders = [drawn(seed) for seed in range(20)] + [switched("commit", n) for n in range(0, 26, 2)]
    for choose in orders:
        turns = played(template, place, "a commit", choose, taken_back)
        assert turns.results["remove"] is None
        assert verify_store(place, full=True).problems == (), turns.trace
        assert [entry.key for entry in open_store(place).entries] == [STAYS, LEAVES]
        commit(opened(place), OLD, NEW, LATER)
        store = open_store(place)
        assert [entry.key for entry in store.entries] == sorted(KEYS)
        assert_numbers(store)
        assert verify_store(place, full=True).problems == (), turns.trace


def half_unsealed(objects):
    objects.delete(SEALED_INDEX)
    objects.delete(SEALED_RECORDS)


@pytest.mark.parametrize("whole", [True, False])
def test_a_seal_beside_an_unsealing_is_whole_or_off(template, tmp_path, whole):
    """With the index deleted first and not again, half a seal stays."""
    place, halves = str(tmp_path / "store"), 0
    for before in range(20, 26):
        for more in (1, 2, 3):
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(template, place)
            complete(place)
            take_off = unseal if whole else half_unsealed
            actors = {"seal": lambda: seal(place), "take off": lambda f=take_off: f(LocalObjects(place))}
            with taking_turns(actors) as turns:
                turns.play(switched("seal", before, more))
            halves += any(problem.array == "sealed" for problem in verify_store(place).problems)
    assert (halves == 0) == whole


def test_turns_are_repeated_by_their_seed(template, tmp_path):
    place = str(tmp_path / "store")
    traces = [played(template, place, "two writers", drawn(seed)).trace for seed in (3, 3, 4)]
    assert traces[0] == traces[1] != traces[2]


def test_an_actor_may_commit(template, tmp_path):
    """Not everything is refused: who is not withdrawn is committed in every order."""
    turns = played(template, str(tmp_path / "store"), "two writers", drawn(0))
    assert isinstance(turns.results["other"][0], VolumeRecord)
