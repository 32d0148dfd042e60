"""Conditions are evaluated by our own walk, with unknown as a third truth."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregate.cohort.table.where import where
from cache_schema.common.errors import ConfigError

FRAME = pd.DataFrame(
    {
        "age": [50.0, 61.0, np.nan, 72.5, 61.0],
        "qc": pd.Series(["pass", "fail", "pass", np.nan, "pass"], dtype="object"),
        "site": pd.Series(["A", "B", "C", "A", "B"], dtype="object"),
        "Age at scan": [1.0, 2.0, 3.0, 4.0, 5.0],
        "used": pd.Series(["yes", "no", "1", "0", np.nan], dtype="object"),
        "flag": [1.0, 0.0, 1.0, np.nan, 1.0],
    }
)


@pytest.mark.parametrize(
    ("text", "kept", "unknown"),
    [
        ("qc == 'pass' and age >= 55", [4], [2, 3]),
        ("qc == 'pass' or age >= 55", [0, 1, 2, 3, 4], []),
        ("not qc == 'pass'", [1], [3]),
        ("qc != 'pass'", [1], [3]),
        ("55 <= age < 70", [1, 4], [2]),
        ("age == '61'", [1, 4], [2]),
        ("site in ['A', 'C']", [0, 2, 3], []),
        ("site not in ('A', 'C')", [1, 4], []),
        ("qc in ['pass']", [0, 2, 4], [3]),
        ("not (qc in ['pass'])", [1], [3]),
        ("age is None", [2], []),
        ("age is not None and qc is not None", [0, 1, 4], []),
        ("`Age at scan` * 2 - 1 > age / 50 + 3", [3, 4], [2]),
        ("age in [50, 61]", [0, 1, 4], [2]),
        ("site >= 'B'", [1, 2, 4], []),
        ("used", [0, 2], [4]),
        ("not used", [1, 3], [4]),
        ("flag and age > -1", [0, 4], [2, 3]),
        ("-age < -60", [1, 3, 4], [2]),
        ("`Age at scan` % 2 == 0", [1, 3], []),
        ("age / 0 > 1", [], [0, 1, 2, 3, 4]),
        ("True", [0, 1, 2, 3, 4], []),
    ],
)
def test_rows_kept_and_rows_left_open(text, kept, unknown):
    true, open_ = where(text, FRAME)
    assert np.flatnonzero(true).tolist() == kept
    assert np.flatnonzero(open_).tolist() == unknown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("agee > 3", "unknown column 'agee'; did you mean 'age'"),
        ("age >", "is not a condition"),
        ("age", "as a condition, but it holds '50'"),
        ("age + 1", "where a condition is expected"),
        ("qc > 3", "text goes in quotes"),
        ("age == 'old'", "text goes in quotes"),
        ("qc + 1 > 2", "calculates with 'qc', which is text"),
        ("__import__('os').system('true') == 0", "not allowed here"),
        ("qc.str == 'pass'", "not allowed here"),
        ("site in qc", "needs a list"),
        ("age is 3", "'is' with None only"),
        ("[x for x in age]", "condition is expected"),
        ("(lambda: 1)() == 1", "not allowed here"),
        ("age ** 9 > 1", "not allowed here"),
        ("f'{age}' == 'x'", "not allowed here"),
        ("", "is not a condition"),
        # Python's parser runs out of stack on this one, and says so by a MemoryError
        ("age in " + 199 * "[" + "'c'l", "is not a condition"),
    ],
)
def test_what_is_not_a_condition_is_one_sentence(text, message):
    with pytest.raises(ConfigError, match=message):
        where(text, FRAME)


@given(st.recursive(
    st.sampled_from(["age > 60", "qc == 'pass'", "site == 'A'", "used"]),
    lambda inner: st.one_of(
        inner.map(lambda a: f"not ({a})"),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda t: f"({t[0]}) {t[1]} ({t[2]})"),
    ),
    max_leaves=6,
))  # fmt: skip
def test_kleene_logic_against_filling_in_the_gaps(text):
    """What is certain stays so whatever stands in the gaps, and not(...) mirrors it."""
    true, unknown = where(text, FRAME)
    false = ~true & ~unknown
    mirrored, _ = where(f"not ({text})", FRAME)
    assert np.array_equal(mirrored, false)
    for age in (0.0, 99.0):
        for qc in ("pass", "fail"):
            for used in ("yes", "no"):
                full = FRAME.assign(
                    age=FRAME["age"].fillna(age), qc=FRAME["qc"].fillna(qc), used=FRAME["used"].fillna(used)
                )
                decided, still = where(text, full)
                assert not still.any()
                assert decided[true].all()
                assert not decided[false].any()
