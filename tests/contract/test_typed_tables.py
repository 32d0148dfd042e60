"""Workbooks and Parquet files as tables: the rows of the CSV that they could be; nothing is computed."""

import builtins
import datetime as dt
import io
import zipfile

import numpy as np
import pandas as pd
import pytest

from cache_schema.common.errors import ConfigError
from cache_schema.common.text import workbook as reader
from cache_schema.common.text.tables import read_rows

openpyxl = pytest.importorskip("openpyxl", reason="slicecache[tables] is not installed")
pytest.importorskip("pyarrow", reason="slicecache[tables] is not installed")


def rows(path, sheet=None):
    return [cells for _, cells in read_rows(path, f"the table {path.name!r}", ",", sheet)]


def book(path, *lines, more=(), edit=None):
    made = openpyxl.Workbook()
    for line in lines:
        made.active.append(line)
    for name in more:
        made.create_sheet(name)
    if edit is not None:
        edit(made.active)
    made.save(path)
    return path


HEADER = ["id", "age", "when", "ok", "note"]


def test_a_sheet_is_the_csv_that_it_could_be(tmp_path):
    path = book(
        tmp_path / "named.csv",  # what it is, is seen by how it begins
        HEADER,
        ["007", 71.0, dt.date(2020, 1, 3), True, " a "],
        [8, 0.1, dt.datetime(2020, 1, 3, 12, 30), False, None],
        [],
        ["12", None, None, None, "=x".replace("=", "'=")],
        [9, "1.0"],
    )
    assert rows(path) == [
        HEADER,
        ["007", "71", "2020-01-03", "true", "a"],
        ["8", "0.1", "2020-01-03T12:30:00", "false", ""],
        ["12", "", "", "", "=x"],
        ["9", "1.0", "", "", ""],
    ]
    assert [line for line, _ in read_rows(path, "t", ",")] == [1, 2, 3, 5, 6]


def test_a_number_that_is_shown_with_zeros_is_a_code(tmp_path):
    def edit(sheet):
        sheet["A2"].number_format = "0000"

    assert rows(book(tmp_path / "a.xlsx", ["id"], [12], [12], edit=edit)) == [["id"], ["0012"], ["12"]]


def test_several_sheets_are_a_choice(tmp_path):
    path = book(tmp_path / "a.xlsx", ["id"], ["1"], more=("Visits", "MRI"))
    with pytest.raises(ConfigError, match=r"has 3 sheets: say which by sheet: \(there are 'Sheet', 'Visits'"):
        rows(path)
    with pytest.raises(ConfigError, match="has no sheet 'visits'; there are 'Sheet', 'Visits', 'MRI'"):
        rows(path, "visits")
    assert rows(path, "Sheet") == [["id"], ["1"]]
    assert rows(path, "MRI") == []
    (tmp_path / "b.csv").write_text("id\n1\n")
    with pytest.raises(ConfigError, match="is no workbook, so it has no sheet 'MRI'"):
        rows(tmp_path / "b.csv", "MRI")


def changed(path, part, change):
    """A workbook with one part rewritten."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts[part] = change(parts[part])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return path


SHEET = "xl/worksheets/sheet1.xml"


def test_a_formula_is_what_it_gave_when_it_was_saved(tmp_path):
    path = book(tmp_path / "a.xlsx", ["id", "age", "text"], ["1", "=2+2", '=""'])
    with pytest.raises(ConfigError, match=r"sheet 'Sheet' .*: B2 is a formula without a value"):
        rows(path)

    def computed(data):
        data = data.replace(b"<v></v>", b"<v />")  # as openpyxl 3.1.0 writes it
        assert data.count(b"<v />") == 2
        one, two = b'r="B2"><f>2+2</f><v>4</v>', b'r="C2" t="str"><f>""</f><v></v>'
        return data.replace(b'r="B2"><f>2+2</f><v />', one).replace(b'r="C2"><f>""</f><v />', two)

    assert rows(changed(path, SHEET, computed)) == [["id", "age", "text"], ["1", "4", ""]]


def test_an_error_is_named_and_a_look_up_without_a_result_is_missing(tmp_path):
    assert rows(book(tmp_path / "a.xlsx", ["id", "x"], ["1", "#N/A"])) == [["id", "x"], ["1", "n/a"]]
    with pytest.raises(ConfigError, match=r"B2 is the error '#REF!'"):
        rows(book(tmp_path / "a.xlsx", ["id", "x"], ["1", "#REF!"]))


def test_cells_outside_what_a_sheet_says_of_itself_are_read(tmp_path):
    path = book(tmp_path / "a.xlsx", ["id", "x"], ["1", "2"], ["3", "4"])
    changed(path, SHEET, lambda data: data.replace(b'ref="A1:B3"', b'ref="A1:A1"'))
    assert rows(path)[2] == ["3", "4"]


def bomb(name, size):
    """A zip with a part that unpacks to `size` zeros."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w") as part:
        for _ in range(size >> 20):
            part.write(bytes(1 << 20))
    return out.getvalue()


LAUGHS = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b0 "ha">%s]><a>&b30;</a>' % b"".join(
    b'<!ENTITY b%d "&b%d;&b%d;">' % (n, n - 1, n - 1) for n in range(1, 31)
)


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("xl/workbook.xml", lambda data: data[:100], "is no workbook that can be read"),
        ("xl/workbook.xml", lambda _: LAUGHS, "is no workbook that can be read"),
        (SHEET, lambda _: LAUGHS, "is no workbook that can be read"),
        (
            SHEET,
            lambda data: data.replace(b't="inlineStr"><is><t>x</t></is>', b't="s"><v>99</v>'),
            "is no workbook that can be read",
        ),
        (SHEET, lambda data: data.replace(b'r="A2"', b'r="AAAAA2"'), "is no workbook that can be read"),
    ],
)
def test_broken_and_hostile_workbooks_are_a_sentence(tmp_path, part, change, message):
    path = changed(book(tmp_path / "a.xlsx", ["id"], ["x"]), part, change)
    with pytest.raises(ConfigError, match=message):
        rows(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (bomb("xl/styles.xml", 17 << 20), "'xl/styles.xml' unpacks to 17 MiB, and at most 16 MiB are read"),
        (b"PK\x03\x04" + bytes(100), "is a broken zip"),
        (b"\xd0\xcf\x11\xe0" + bytes(100), "is an old .xls workbook, or one with a password"),
        (b"PAR1" + bytes(100) + b"PAR1", "is no Parquet file that can be read"),
    ],
)
def test_what_is_not_even_opened(tmp_path, data, message):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(ConfigError, match=message):
        rows(tmp_path / "x")


def test_the_largest_sheet_and_the_most_cells(tmp_path, monkeypatch):
    path = book(tmp_path / "a.xlsx", ["id", "x"], ["1", "2"])
    with monkeypatch.context() as fewer:
        fewer.setattr(reader, "MOST_CELLS", 3)
        with pytest.raises(ConfigError, match="more than 1048576 rows or 3 cells"):
            rows(path)
    far = book(tmp_path / "b.xlsx", ["id"], ["x"])
    changed(far, SHEET, lambda data: data.replace(b'r="2"', b'r="2000"').replace(b'"A2"', b'"A2000"'))
    assert len(rows(far)) == 2
    monkeypatch.setattr(reader, "MOST_ROWS", 1999)
    with pytest.raises(ConfigError, match="more than 1999 rows"):
        rows(far)
    monkeypatch.setattr(reader, "LARGEST_ROWS_PART", 100)
    with pytest.raises(ConfigError, match="unpacks to"):
        rows(path)


def test_parquet_is_the_csv_that_it_could_be(tmp_path):
    frame = pd.DataFrame(
        {
            "id": ["007", "8", None],
            "n": [1.0, 2.5, None],
            "half": np.array([0.1, 1, np.nan], dtype=np.float32),
            "day": pd.to_datetime(["2020-01-03", "2020-01-03 12:30", None], format="mixed"),
            "site": pd.Categorical(["A", "B", "A"]),
            "ok": [True, False, None],
        }
    )
    frame.to_parquet(tmp_path / "a.parquet")
    assert rows(tmp_path / "a.parquet") == [
        list(frame.columns),
        ["007", "1", "0.1", "2020-01-03", "A", "true"],
        ["8", "2.5", "1", "2020-01-03T12:30:00", "B", "false"],
        ["", "", "", "", "A", ""],
    ]
    with pytest.raises(ConfigError, match="is no workbook, so it has no sheet"):
        rows(tmp_path / "a.parquet", "x")


def test_parquet_of_what_is_no_table_of_people(tmp_path):
    pd.DataFrame({"x": [[1], [2]]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match="the column 'x' is list<element: int64>, not text, numbers"):
        rows(tmp_path / "a.parquet")
    pd.DataFrame({"x": np.zeros(1 << 21, dtype=np.int8)}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match="more than 1048576 rows"):
        rows(tmp_path / "a.parquet")
    pd.DataFrame({"x": ["a" * 200_000]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match="is no Parquet file that can be read"):
        rows(tmp_path / "a.parquet")


@pytest.mark.parametrize("package", ["openpyxl", "pyarrow"])
def test_without_the_extra_it_is_one_sentence(tmp_path, monkeypatch, package):
    path = tmp_path / "a.x"
    if package == "openpyxl":
        book(path, ["id"], ["1"])
    else:
        pd.DataFrame({"x": [1]}).to_parquet(path)
    real = builtins.__import__

    def absent(name, *more):
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ConfigError, match=rf"which needs {package}: pip install 'slicecache\[tables\]'"):
        rows(path)
