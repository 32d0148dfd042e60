"""Which volumes of a session are used."""

import pytest
from made_up_store import example_draft
from pydantic import ValidationError

from aggregate.cohort.select import SelectSpec, choose_runs, make_bags, mismatch
from cache_schema.common.errors import SlicecacheError
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import Entities, VolumeRecord


def record(volume_id="T1w", **entities):
    draft = example_draft(VolumeKey("p1", "s1", volume_id), 3, entities=Entities(**entities))
    return VolumeRecord(**draft.model_dump(), row=0, tokens={}, digest="")


def volumes(*records):
    return [r.model_copy(update={"participant_id": "p1", "session_id": "s1"}) for r in records]


@pytest.mark.parametrize(
    ("spec", "entities", "reason"),
    [
        ({}, {"contrast": "T2w"}, ""),
        ({"contrast": "T1w"}, {"contrast": "T1w"}, ""),
        ({"contrast": "T1w"}, {"contrast": "T2w"}, "not selected (contrast T2w)"),
        ({"contrast": "T1w"}, {}, "not selected (contrast not given)"),
        ({"contrast": ["T1w", "FLAIR"]}, {"contrast": "FLAIR"}, ""),
        ({"contrast": ["T1w", "FLAIR"]}, {"contrast": "T2w"}, "not selected (contrast T2w)"),
        ({"run": [1, 3]}, {"run": "03"}, ""),
        ({"run": 1}, {"run": "01"}, ""),
        ({"run": "run-01"}, {"run": "1"}, ""),
        ({"run": 2}, {"run": "01"}, "not selected (run 01)"),
        ({"run": "first"}, {"run": "02"}, ""),
        ({"space": "MNI"}, {"space": "T1w"}, "not selected (space T1w)"),
        ({"volume_id": "acq-a_T1w"}, {}, "not selected (volume_id T1w)"),
    ],
)
def test_a_volume_is_selected_by_what_is_asked(spec, entities, reason):
    assert mismatch(SelectSpec.model_validate(spec), record(**entities)) == reason


def test_first_and_last_run_per_contrast():
    group = volumes(
        record(contrast="T1w", run="10"), record(contrast="T1w", run="2"), record(contrast="T2w", run="3")
    )
    assert choose_runs(SelectSpec(run=("first",)), group) == ["run not first", "", ""]
    assert choose_runs(SelectSpec(run=("last",)), group) == ["", "run not last", ""]
    assert choose_runs(SelectSpec(run=("2",)), group) == ["", "", ""]
    for wrong in ([], [True]):
        with pytest.raises(ValidationError):
            SelectSpec.model_validate({"contrast": wrong})
    with pytest.raises(ValidationError, match="either first, or last, or a list of numbers"):
        SelectSpec.model_validate({"run": ["first", 2]})


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([{"contrast": "T1w"}, {"contrast": "FLAIR"}], r"contrast: FLAIR, T1w; .*\{contrast: FLAIR\}"),
        ([{"run": "1"}, {"run": "2"}], r"run: 1, 2; .*\{run: first\}"),
        ([{"space": ""}, {"space": "MNI"}], r"space: \(none\), MNI; .*\{space: MNI\}"),
    ],
)
def test_ambiguous_sessions_are_refused_with_the_way_out(records, message):
    with pytest.raises(SlicecacheError, match=rf"p1/s1 holds several volumes that differ in {message}"):
        make_bags(volumes(*(record(**r) for r in records)), None)


def test_without_a_differing_entity_the_volume_id_tells():
    with pytest.raises(SlicecacheError, match="differ in volume_id: ce-a_T1w, ce-b_T1w"):
        make_bags(volumes(record("ce-a_T1w"), record("ce-b_T1w")), None)


def test_combining():
    group = volumes(record(contrast="T1w"), record(contrast="T2w"))
    other = record().model_copy(update={"participant_id": "p2", "session_id": ""})
    assert make_bags([*group, other], "concat") == [(0, 1), (2,)]
    assert make_bags([*group, other], "mean") == [(0,), (1,), (2,)]
    assert make_bags([group[0], other], None) == [(0,), (1,)]


def test_volumes_of_a_bag_are_in_one_order_whatever_the_stores():
    one, two = volumes(record("T1w"), record("FLAIR"))
    assert make_bags([one, two], "concat") == [(1, 0)]
    assert make_bags([two, one], "concat") == [(0, 1)]
