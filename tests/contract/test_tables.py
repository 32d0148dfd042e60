"""Tables for people run nothing in a spreadsheet, and what was written comes back."""

import csv
import io

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregate.common.artefacts import csv_text
from cache_schema.common.errors import ConfigError
from cache_schema.common.text.cells import RUN, plain_cell, safe_cell
from cache_schema.common.text.tables import read_rows

PIECES = st.text("'=+-@\t\r＝ab1.5e", max_size=6)


@given(PIECES)
def test_a_cell_comes_back_and_is_not_run(text):
    written = safe_cell(text)
    assert plain_cell(written) == text
    assert not written.startswith(RUN) or float(written) is not None


@pytest.mark.parametrize("number", ["-1.5", "+2", "-1e-05", "-.5", "-0.0"])
def test_numbers_stay_numbers(number):
    assert safe_cell(number) == number


def test_a_frame_with_hostile_names_and_values():
    frame = pd.DataFrame({"=a": ["@x", None, "ok"], "n": [-1.5, 2.0, 3.0], "m": ["-1", "-x", "'=1"]})
    rows = list(csv.reader(io.StringIO(csv_text(frame))))
    assert rows == [["'=a", "n", "m"], ["'@x", "-1.5", "-1"], ["", "2.0", "'-x"], ["ok", "3.0", "''=1"]]
    assert frame.columns[0] == "=a"  # the caller's stays as it was


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a,b\n1,\x002\n", "has a NUL on line 2"),
        (b'a,b\n1,"2\n3,4\n', "broken from line 2 on: a quote is opened and never closed"),
        (b'a,b\n1,"2"3\n', "broken from line 2 on: a quote stands inside"),
        (b"a,b\n1," + b"x" * 200_000, "a cell is longer than 131072 characters"),
        ("a,b\n1,2\n".encode("utf-16"), "is UTF-16"),
        ("a,b\n1,é\n".encode("latin-1"), "is not UTF-8"),
    ],
)
def test_broken_tables_are_said_with_their_line(tmp_path, content, expected):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=expected):
        read_rows(path, "the table 't.csv'", ",;\t")


def test_odd_but_sound_tables_are_read(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes('\ufeffa;b\r\n"1\n2";3\r\r\n\'=x;"\'-1"\n'.encode())
    assert [cells for _, cells in read_rows(path, "t", "\t,;")] == [["a", "b"], ["1\n2", "3"], ["=x", "-1"]]
