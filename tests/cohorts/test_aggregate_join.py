"""Tables as people have them."""

import numpy as np
import pytest

from aggregate.cohort.table.cohort_table import read_table
from aggregate.cohort.table.join import make_join
from aggregate.cohort.table.join_spec import JoinSpec
from aggregate.common.table_values import natural, read_number, typed, value_name
from aggregate.config.section import parse_section
from cache_schema.common.errors import ConfigError, SlicecacheError
from cache_schema.format.identity import VolumeKey


def table(folder, text, name="t.csv", missing=()):
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_table(path, missing)


@pytest.mark.parametrize("separator", [",", "\t", ";"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_separators_line_endings_and_a_byte_order_mark(tmp_path, separator, ending):
    lines = [["id", "age", "site"], ["01", " 7.5 ", "A"], ["2", "n/a", ""]]
    text = "\ufeff" + ending.join(separator.join(line) for line in lines) + ending + ending
    read = table(tmp_path, text)
    assert read.text["id"].tolist() == ["01", "2"]
    assert read.typed["age"].iloc[0] == 7.5
    assert np.isnan(read.typed["age"].iloc[1])
    assert read.typed["site"].isna().tolist() == [False, True]


def test_quoted_cells_may_hold_the_separator(tmp_path):
    assert table(tmp_path, 'id,note\n1,"a, b"\n').text["note"].tolist() == ["a, b"]


def test_a_column_is_numeric_only_when_all_of_it_is():
    assert typed(["1", "2.5", ""]).dtype == np.float64
    assert typed(["1", "x"]).tolist() == ["1", "x"]
    assert typed(["007", "8"]).tolist() == ["007", "8"]
    coded = typed(["-4", "3", "-1.0"], ["-4", "-1"])
    assert coded.isna().tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("1", 1.0),
        ("-1.5e3", -1500.0),
        (".5", 0.5),
        ("0", 0.0),
        ("0.5", 0.5),
        ("01", None),
        ("inf", None),
        ("1_0", None),
    ],
)
def test_numbers_are_what_a_person_would_call_so(cell, number):
    assert read_number(cell) == number


def test_one_spelling_per_value():
    assert {value_name(v) for v in (1, 1.0, "1", " 1.0 ")} == {"1"}
    assert value_name("01") == "01"
    assert sorted(["s10", "s2", "s1"], key=natural) == ["s1", "s2", "s10"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,a\n1\n", "line 2 .* has 1 cells, its header has 2"),
        ("id,a,a\n1,2,3\n", "more than one column a"),
        ("id,a\n", "has no rows"),
        ("", "has no rows"),
        (b"id,name\n1,M\xfcller\n", "not UTF-8"),
    ],
)
def test_broken_tables_are_one_sentence(tmp_path, text, message):
    with pytest.raises(SlicecacheError, match=message):
        table(tmp_path, text)


def test_a_table_that_is_not_there(tmp_path):
    with pytest.raises(SlicecacheError, match="cannot read the cohort table"):
        read_table(tmp_path / "none.tsv")


def keys(*pairs):
    return [VolumeKey(p, s, "T1w") for p, s in pairs]


def test_prefixes_and_visit_codes_meet_in_the_middle(tmp_path):
    spec = JoinSpec.model_validate(
        {
            "participant": "PTID",
            "session": "VISCODE",
            "strip_prefix": "ADNI_",
            "visits": {"bl": "01", "m06": "ses-02"},
        }
    )
    read = table(tmp_path, "PTID,VISCODE\nADNI_7,bl\nsub-8,m06\n")
    join = make_join(spec, read, keys(("sub-7", "ses-01"), ("8", "02")))
    assert join.of_table(read) == [join.of_key(key) for key in keys(("sub-7", "ses-01"), ("8", "02"))]


def test_a_store_without_sessions_ignores_the_tables(tmp_path):
    read = table(tmp_path, "participant_id,session_id\n1,a\n2,b\n")
    assert make_join(JoinSpec(), read, keys(("1", ""), ("2", ""))).session is None
    assert make_join(JoinSpec(), read, keys(("1", "a"), ("2", ""))).session == "session_id"


def test_ambiguity_is_named_on_both_sides(tmp_path):
    read = table(tmp_path, "participant_id,x\n1,a\n2,b\n2,b\n,c\n")
    with pytest.raises(SlicecacheError, match="1 rows have no 'participant_id'"):
        make_join(JoinSpec(), read, keys(("1", ""))).of_table(read)
    with pytest.raises(SlicecacheError, match="more than one row for 2"):
        make_join(JoinSpec(), read, keys(("1", ""))).of_table(read.rows(np.array([True, True, True, False])))
    with pytest.raises(SlicecacheError, match="'sub-1' and '1' have the same id"):
        make_join(JoinSpec(), read, keys(("sub-1", ""), ("1", "")))
    with pytest.raises(ConfigError, match=r"join.session: t.csv has no column 'visit'"):
        make_join(JoinSpec(session="visit"), read, keys(("1", "")))


def test_the_section_reads_short_and_long_forms():
    short = parse_section({"cohort": "a.csv", "target": "dx", "missing": -4, "split": "part"})
    long = parse_section(
        {"cohort": "a.csv", "target": {"column": "dx"}, "missing": [-4.0], "split": {"column": "part"}}
    )
    assert short == long
    assert short.missing == ("-4",)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"traget": 1}, "did you mean 'target'"),
        ({"target": {"column": "age", "task": "regresion"}}, "no 'regresion'; did you mean 'regression'"),
        ({"target": {"column": "a", "classes": {"x": [1], "y": [1.0]}}}, "value '1' is in two classes"),
        ({"target": {"column": "a", "classes": {True: [1], "y": [2]}}}, "put it in quotes"),
        ({"split": "a", "leave_group_out": "b"}, "exclude each other"),
        ({"folds": {"n": 1}}, "aggregate.folds.n"),
        ({"recipe": "dinoaten3d"}, "did you mean 'dinoatten3d'"),
    ],
)
def test_a_wrong_section_is_one_sentence(keys, message):
    with pytest.raises(ConfigError, match=message):
        parse_section({"cohort": "a.csv", "target": "dx", **keys})
