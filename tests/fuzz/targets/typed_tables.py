"""Workbooks, part by part, so that what is spoiled reaches the parsers behind the zip; Parquet files."""

import io
import zipfile
from pathlib import Path

from fuzz.target import Files, Target

from aggregate.cohort.table.cohort_table import read_table


def _workbooks() -> list[Files]:
    """The parts of workbooks: texts, numbers, dates, a formula with its value, two sheets."""
    import openpyxl

    found = []
    for sheets in (("Sheet",), ("Sheet", "MRI")):
        book = openpyxl.Workbook()
        for name in sheets[1:]:
            book.create_sheet(name)
        book.active.append(["participant_id", "age", "dx", "when"])
        book.active.append(["007", 71.5, "control", "2020-01-03"])
        book.active.append([8, "=70+2", "patient", None])
        out = io.BytesIO()
        book.save(out)
        with zipfile.ZipFile(out) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        sheet = "xl/worksheets/sheet1.xml"
        for nothing in (b"<v />", b"<v></v>"):  # by the version of openpyxl
            parts[sheet] = parts[sheet].replace(b"<f>70+2</f>" + nothing, b"<f>70+2</f><v>72</v>")
        found.append(parts)
    return found


def _workbook(folder: Path) -> object:
    """Zip what lies there and read it; a workbook with a part named MRI has two sheets."""
    path = folder.with_name(f"{folder.name}.xlsx")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(each for each in folder.rglob("*") if each.is_file()):
            archive.write(file, file.relative_to(folder).as_posix())
    try:
        return read_table(path, ("-4",), "Sheet")
    finally:
        path.unlink()


def _parquets() -> list[Files]:
    import pandas as pd

    frame = pd.DataFrame(
        {"participant_id": ["007", "8", None], "age": [71.5, None, 60], "dx": pd.Categorical(["a", "b", "a"])}
    )
    dated = frame.assign(when=pd.to_datetime(["2020-01-03", None, "2021-02-03"]), ok=[True, None, False])
    plain = {"t.parquet": frame.to_parquet(compression=None)}
    return [plain, {"t.parquet": dated.to_parquet()}]


def _parquet(folder: Path) -> object:
    return read_table(folder / "t.parquet", ("-4",))


READER = "cache_schema.common.text"
TARGETS = [
    Target("workbook", _workbooks, _workbook, (f"{READER}.workbook", f"{READER}.values")),
    Target("parquet", _parquets, _parquet, (f"{READER}.parquet", f"{READER}.values")),
]
