"""A store and a table that have nobody in common: the words of `join:` that are said do help."""

import re

import pytest
import yaml

from aggregate.cohort.no_match import no_match
from aggregate.cohort.table.cohort_table import read_table
from aggregate.cohort.table.join import make_join
from aggregate.cohort.table.join_spec import JoinSpec
from cache_schema.format.identity import VolumeKey

COLUMNS = {"participant": "Patient", "session": "Visit"}


def both(folder, rows, volumes, **join):
    path = folder / "clinic.csv"
    path.write_text("Patient,Visit\n" + "".join(f"{person},{visit}\n" for person, visit in rows))
    table, keys = read_table(path), [VolumeKey(*volume, "T1w") for volume in volumes]
    made = make_join(JoinSpec.model_validate(COLUMNS | join), table, keys)
    return keys, made.of_table(table), table, made


def said(*given):
    """The sentence, and what it says to write."""
    sentence = no_match(*given)
    found = re.search(r"join: (\{.*\})", sentence)
    return sentence, yaml.safe_load(found[1]) if found else {}


HELPED = {
    "zeros": (["1", "12"], ["01", "12"], ["bl"], ["bl"], {"pad": 2}),
    "zeros of the table": (["001", "002"], ["1", "2"], ["bl"], ["bl"], {"pad": 3}),
    "zeros inside": (["2_S_1"], ["002_S_0001"], ["bl"], ["bl"], {"pad": 4}),
    "zeros of sessions": (["p"], ["p"], ["M6"], ["M06"], {"pad": {"session": 2}}),
    "zeros of both": (["1"], ["001"], ["6"], ["06"], {"pad": {"participant": 3, "session": 2}}),
    "baseline": (["01", "02"], ["01", "02"], ["baseline"], ["bl"], {"visits": {"baseline": "bl"}}),
    "by number": (
        ["01", "02"],
        ["01", "02"],
        ["baseline", "month 6", "month 12"],
        ["bl", "m06", "m12"],
        {"visits": {"baseline": "bl", "month 6": "m06", "month 12": "m12"}},
    ),
    "zeros and sessions": (
        ["1", "2"],
        ["01", "02"],
        ["baseline"],
        ["bl"],
        {"pad": 2, "visits": {"baseline": "bl"}},
    ),
    "zeros of some, and sessions": (
        ["1", "12"],
        ["01", "12"],
        ["baseline"],
        ["bl"],
        {"pad": 2, "visits": {"baseline": "bl"}},
    ),
    "a code that looks like a number": (["01"], ["01"], ["V1"], ["01"], {"visits": {"V1": "01"}}),
}


@pytest.mark.parametrize("case", HELPED)
def test_what_is_said_helps(case, tmp_path):
    theirs, ours, words, sessions, join = HELPED[case]
    rows = [(person, word) for person in theirs for word in words]
    volumes = [(person, session) for person in ours for session in sessions]
    keys, pairs, table, made = both(tmp_path, rows, volumes)
    differing = [(key, row) for key, row in zip(keys, pairs, strict=True) if made.of_key(key) != row]
    assert differing
    sentence, words_of_join = said([key for key, _ in differing], [row for _, row in differing], table, made)
    assert sentence.startswith(
        "no volume of the store matches a row of clinic.csv (joined on Patient, Visit)"
    )
    assert words_of_join == join
    keys, pairs, _, made = both(tmp_path, rows, volumes, **join)
    assert [made.of_key(key) for key in keys] == pairs


@pytest.mark.parametrize(
    ("words", "sessions"), [(["m12"], ["bl"]), (["baseline", "screening"], ["bl", "sc"]), (["V1"], ["bl"])]
)
def test_sessions_that_cannot_be_told_are_not_guessed(words, sessions, tmp_path):
    rows = [("01", word) for word in words]
    sentence, _ = said(*both(tmp_path, rows, [("01", session) for session in sessions]))
    assert sentence.endswith(
        f"sessions are called otherwise ({', '.join(words)} in clinic.csv, {', '.join(sessions)} in the "
        "store); where they are the same, say join: {visits: {CODE OF clinic.csv: SESSION OF THE STORE}}"
    )


def test_where_nothing_is_seen_all_that_can_be_done_is_said(tmp_path):
    sentence, _ = said(*both(tmp_path, [("a", "bl")], [("01", "bl")]))
    assert sentence.endswith("join: can rename columns, strip prefixes and map visits")
    assert "the table has a bl; the store has 01 bl" in sentence


def test_many_visits_are_not_all_told(tmp_path):
    rows = [("01", f"month {month}") for month in range(1, 13)]
    volumes = [("01", f"m{month:02d}") for month in range(1, 13)]
    sentence, join = said(*both(tmp_path, rows, volumes))
    assert len(join["visits"]) == 8
    assert sentence.endswith(", and so on")
