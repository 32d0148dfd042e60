"""Which session of a participant is used."""

import pytest

from aggregate.cohort.table.cohort_table import read_table
from aggregate.cohort.table.join import Join
from aggregate.cohort.table.join_spec import JoinSpec
from aggregate.cohort.table.sessions import Visit, choose_sessions, session_order
from cache_schema.common.errors import ConfigError, SlicecacheError
from cache_schema.format.identity import VolumeKey

VISITS = [Visit("1", "ses-10", 0), Visit("1", "ses-2", 1), Visit("1", "ses-3", 2), Visit("2", "ses-7", 3)]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text(
        "id\tday\tdate\tuse\twhich\n1\t5\t2020-01-03\t0\t2\n1\t90\t2019-12-31\t1\t2\n"
        "1\tn/a\t2021-05-01\tyes\t2\n2\t3\t2020-01-01\t\tses-7\n"
    )
    return read_table(path)


def ordered(table, **spec):
    keys = [VolumeKey(visit.participant_id, visit.session_id, "T1w") for visit in VISITS]
    return session_order(VISITS, keys, table, Join(JoinSpec(**spec), "session_id", True))


@pytest.mark.parametrize(
    ("rule", "order", "kept"),
    [
        ("first", None, [1, 3]),
        ("last", None, [0, 3]),
        ("all", None, [0, 1, 2, 3]),
        ("first", "day", [0, 3]),
        ("last", "day", [1, 3]),
        ("first", "date", [1, 3]),
        ("last", "date", [2, 3]),
    ],
)
def test_order_is_natural_or_by_a_column(table, rule, order, kept):
    reasons = choose_sessions(rule, VISITS, table, True, ordered(table, order=order))
    assert [i for i, reason in enumerate(reasons) if not reason] == kept
    assert {reason for reason in reasons if reason} <= {
        f"session not {rule}",
        "session without a place in order (no day)",
    }


def test_a_column_marks_or_names_the_session(table):
    marked = choose_sessions("use", VISITS, table, True)
    assert marked == ["session not marked in use", "", "", "session not marked in use"]
    named = choose_sessions("which", VISITS, table, False)
    assert named == ["session not the one in which", "", "session not the one in which", ""]


def test_several_volumes_of_the_first_session_all_stay(table):
    visits = [Visit("1", "a", 0), Visit("1", "a", 0), Visit("1", "b", 0)]
    assert choose_sessions("first", visits, table, True) == ["", "", "session not first"]


def test_unknown_rules_and_columns(table):
    with pytest.raises(ConfigError, match="neither first, last, all nor a column; did you mean 'use'"):
        choose_sessions("usee", VISITS, table, True)
    with pytest.raises(ConfigError, match=r"join.order: t.tsv has no column 'dat'"):
        ordered(table, order="dat")


def no(rule):
    return [f"session not {rule}"]


def test_dates_are_ordered_as_they_are_told_to_be_written(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("id,when,code\n1,9/28/2005,bl\n1,10/3/2004,m120\n1,10/3/2005,m6\n2,1/1/2001,bl\n")
    table = read_table(path)
    with pytest.raises(SlicecacheError, match=r"holds '9/28/2005', and whether .* join.date_format"):
        ordered(table, order="when")
    with pytest.raises(SlicecacheError, match="holds '9/28/2005', which is no date written %d/%m/%Y"):
        ordered(table, order="when", date_format="%d/%m/%Y")
    dated = ordered(table, order="when", date_format="%m/%d/%Y")
    assert choose_sessions("first", VISITS, table, True, dated) == [*no("first"), "", *no("first"), ""]
    assert choose_sessions("last", VISITS, table, True, dated)[2] == ""
    coded = ordered(table, order="code")
    assert choose_sessions("last", VISITS, table, True, coded) == [*no("last"), "", *no("last"), ""]
