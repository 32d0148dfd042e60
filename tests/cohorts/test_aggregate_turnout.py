"""Who is left out, in one line; and ids that only look different."""

import pytest

from aggregate.cohort.lookalikes import lookalikes_of
from aggregate.cohort.table.join import LeftOut
from aggregate.cohort.turnout import Shortfall, Turnout


def volume(number: int, reason: str) -> LeftOut:
    return LeftOut(f"sub-{number:02d}", "", "T1w", reason)


def test_nobody_left_out_is_not_worth_a_line():
    assert Turnout(used=3, known=3).line() == ""
    assert Turnout(used=3, known=3).warnings() == ()


def test_one_line_counts_by_kind_of_reason_and_names_three():
    left_out = (
        *(volume(n, "in the store, not in the table") for n in range(4)),
        volume(7, "extraction failed (every voxel is 7)"),
        volume(8, "extraction failed (the file is empty)"),
        LeftOut("2", "", "", "in the table, not in the store"),
    )
    assert Turnout(used=31, known=37, left_out=left_out).line() == (
        "31 of 37 participants of the store are used; left out: 4 volumes in the store, not in the table "
        "(sub-00, sub-01, sub-02 and 1 more); 2 volumes extraction failed (sub-07, sub-08); "
        "1 row in the table, not in the store (2)"
    )


def test_a_part_of_a_store_is_said():
    failed = (volume(1, "extraction failed (x)"), volume(2, "extraction failed (y)"))
    short = Shortfall(committed=20, failed=failed, pending=(volume(3, "planned"),), refused=1)
    assert short.planned == 22  # a volume that was refused at once has no row
    assert short.sentence().startswith(
        "20 of 22 planned volumes are committed (1 are not done yet, 1 failed)"
    )
    assert Shortfall(committed=20, failed=failed[:1], refused=1).sentence() == ""


@pytest.mark.parametrize(
    ("ours", "theirs", "says"),
    [
        ("02", "2", "leading zeros only: '02' in the store is '2' in t.csv; .* as text with 2 digits"),
        ("02", "2", r"or say join: \{pad: 2\}$"),
        ("2", "002", r"leading zeros only: '2' in the store is '002'.*say join: \{pad: 3\}$"),
        ("02", "2.0", r"as the store has them$"),
        ("02", "2.0", "leading zeros only"),
        ("a7", "A7", "upper and lower case"),
        ("07", "SUB-07", "upper and lower case"),
        ("07", "07\u200b", r"characters that cannot be seen only: '07' in the store is '07\\u200b'"),
        ("002S0001", "002_S_0001", "differ in separators only"),
        ("002S0001", "2_S_1", "separators and leading zeros only"),
    ],
)
def test_ids_that_look_alike_are_explained(ours, theirs, says):
    import re

    assert re.search(says, lookalikes_of([(ours, "")], [(theirs, ""), ("other", "")], "t.csv"))


def test_sessions_count_too_and_what_is_ambiguous_is_not_guessed():
    found = lookalikes_of([("7", "01")], [("7", "1")], "t.csv")
    assert "'7 01' in the store is '7 1'" in found
    assert found.endswith("or say join: {pad: {session: 2}}")
    assert "{pad: 2}" in lookalikes_of([("2", ""), ("10", "")], [("02", ""), ("10", "")], "t.csv")
    assert lookalikes_of([("02", "")], [("2", ""), ("002", "")], "t.csv") == ""
    assert lookalikes_of([("02", "")], [("3", "")], "t.csv") == ""
    assert lookalikes_of([], [("3", "")], "t.csv") == ""
