"""Who takes part: the flow's numbers add up, Table 1 by hand, the map of embeddings, and odd cohorts."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from aggregate.cohort.table.join import LeftOut
from aggregate.cohort.turnout import FAILED, PENDING, Shortfall, Turnout
from aggregate.common.artefacts import csv_text
from aggregate.report.figures.cohort.embedding import embedding_figure
from aggregate.report.figures.cohort.flow import cohort_flow, flow_figure, flow_table
from aggregate.report.figures.redraw import read_back, redrawn
from aggregate.report.text.characteristics import characteristics, wanted_columns
from aggregate.train.embedding_map import embedding_map

LOOKS_AT_FIGURES = True


def turnout() -> Turnout:
    """Of 30 images 2 failed and 1 is pending; 4 are not used, and 3 rows have no image."""
    failed = tuple(LeftOut(f"f{i}", "", "T1w", f"{FAILED} (its file is {i})") for i in range(2))
    pending = (LeftOut("g", "", "T1w", PENDING),)
    unused = tuple(LeftOut(f"u{i}", "", "T1w", "not in the table") for i in range(3))
    other = (LeftOut("v", "", "T1w", "target missing"),)
    rows = tuple(LeftOut(f"r{i}", "", "", "no volume") for i in range(3))
    short = Shortfall(committed=27, failed=failed, pending=pending)
    return Turnout(23, 30, (*unused, *other, *rows, *failed, *pending), short)


def metrics(**changes: object) -> dict[str, object]:
    return (
        {"n_participants": 23, "n_per_class": {"control": 12, "patient": 11}} | turnout().as_json() | changes
    )


def test_the_flow_adds_up() -> None:
    table = flow_table(metrics())
    assert table is not None
    kept = table[~table["leaves"]].set_index("label")["n"].to_dict()
    assert kept == {
        "images found": 30,
        "images in the store": 27,
        "images used": 23,
        "participants used": 23,
        "control": 12,
        "patient": 11,
    }
    gone = table[table["leaves"]]
    assert gone[gone["stage"] == "found"]["n"].sum() == 30 - 27
    images = gone[(gone["stage"] == "store") & ~gone["label"].str.startswith("rows of")]
    assert images["n"].sum() == 27 - 23
    assert gone[gone["label"] == "rows of the table: no volume"]["n"].tolist() == [3]


def test_the_flow_is_drawn_again_and_read_aloud() -> None:
    drawing = flow_figure(metrics())
    assert drawing is not None
    assert "images found 30" in drawing
    again = redrawn(drawing.kind, drawing.name, read_back(csv_text(drawing.table).encode()), drawing.facts)
    assert str(again) == str(drawing)


@pytest.mark.parametrize("n_classes", [0, 1, 5, 40])
def test_a_flow_of_any_number_of_classes(n_classes: int) -> None:
    classes = {f"a label that is as long as some are, {i}": 3 for i in range(n_classes)}
    drawing = flow_figure(metrics(n_per_class=classes))
    assert drawing is not None
    assert drawing.count("n = 3") == min(n_classes, 12)
    assert ("28 more labels" in drawing) == (n_classes == 40)


def test_nobody_left_out_and_nothing_known() -> None:
    everybody = replace(turnout(), left_out=(), shortfall=Shortfall(committed=23)).as_json()
    table = flow_table(metrics() | everybody)
    assert table is not None
    assert not table["leaves"].any()
    assert "23 images found" in cohort_flow(table)
    assert flow_figure({"n_participants": 3}) is None


def test_many_reasons_are_told_together() -> None:
    rows = [
        {"participant_id": "", "session_id": "", "volume_id": "v", "reason": f"reason {i}"} for i in range(9)
    ]
    table = flow_table(metrics(left_out=rows))
    assert table is not None
    gone = table[table["leaves"]]
    assert len(gone) == 6
    assert gone["n"].sum() == 9
    assert gone["label"].iloc[-1] == "other reasons"


def people() -> pd.DataFrame:
    """Five participants, one with two sessions."""
    return pd.DataFrame(
        {
            "participant_id": ["p", "p", "q", "r", "s", "t"],
            "y": [0, 0, 0, 1, 1, 1],
            "age": [60.0, 61, 70, 80, np.nan, 90],
            "sex": ["F", "F", "M", "M", "M", None],
            "centre": [1, 1, 2, 1, 2, 2],
            "stage": [0, 0, 1, 1, 1, 0],
            "education": [8.0, 8, 9.5, 12, 13, 20],
        }
    )


def test_table_1_by_hand() -> None:
    columns = wanted_columns(list(people().columns), ["education", None, "stage", "not there"], "diagnosis")
    assert columns == ["age", "sex", "centre", "education", "stage"]
    table = characteristics(people(), ("control", "patient"), columns, bags=True)
    rows = {row[0]: row[1:] for row in table.rows}
    assert table.head == ("characteristic", "control", "patient", "all")
    assert rows["participants, n"] == ("2", "3", "5")
    assert rows["bags of slices, n"] == ("3", "3", "6")
    assert rows["age, mean (sd)"] == ("65.0 (7.1)", "85.0 (7.1)", "75.0 (12.9)")
    assert rows["age, range"] == ("60 to 70", "80 to 90", "60 to 90")
    assert rows["age, not known, n"] == ("0", "1", "1")
    assert rows["sex F, n (%)"] == ("1 (50.0 %)", "0 (0.0 %)", "1 (25.0 %)")
    assert rows["centre 2, n (%)"] == ("1 (50.0 %)", "2 (66.7 %)", "3 (60.0 %)")
    assert rows["stage 1, n (%)"] == ("1 (50.0 %)", "2 (66.7 %)", "3 (60.0 %)")
    assert "education 8, n (%)" in rows  # five values: told one by one


def test_table_1_of_what_there_is() -> None:
    bare = people()[["participant_id", "y"]]
    assert characteristics(bare, ("a",), wanted_columns(list(bare), [], "y")).rows == (
        ("participants, n", "2"),
    )
    empty = characteristics(people().assign(age=np.nan), ("a", "b"), ["age"])
    assert {row[0]: row[1:] for row in empty.rows}["age, not known, n"] == ("2", "3", "5")
    many = people().assign(site=[f"s{i}" for i in range(6)])
    assert len(characteristics(many, ("a", "b"), ["site"]).rows) == 6
    assert wanted_columns(["age", "gender"], [], "Sex") == ["age"]


def cohort(n: int = 13, **columns: object) -> SimpleNamespace:
    """What `embedding_map` asks of a cohort; the last participant has two bags."""
    names = [f"s{i:02d}" for i in range(n)]
    bags = [*names, names[-1]]
    y = np.arange(n + 1) % 2
    return SimpleNamespace(
        participants=np.array(bags),
        y=y,
        classes=("control", "patient"),
        values=y[:, None].astype(float),
        kind=SimpleNamespace(classes=("control", "patient")),
        table=pd.DataFrame({"diagnosis": y, **columns}),
        target="diagnosis",
    )


def test_the_map_is_the_leading_singular_vectors_of_participants_means() -> None:
    pooled = np.random.default_rng(1).normal(size=(14, 5)) * [5, 3, 1, 1, 1]
    found = embedding_map(cohort(), pooled)
    assert found is not None
    means = np.vstack([pooled[:12], pooled[12:].mean(axis=0)])
    centred = means - means.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    for place, name in enumerate(("x", "y")):
        np.testing.assert_allclose(np.abs(found.points[name]), np.abs(u[:, place] * s[place]), rtol=1e-5)
    np.testing.assert_allclose(found.shares, (s**2 / np.sum(s**2))[:2], atol=1e-6)
    assert list(found.points) == ["participant_id", "x", "y", "label"]


def test_the_map_is_coloured_by_what_is_known_and_drawn_again() -> None:
    ages = [60.0 + i for i in range(13)] + [np.nan]
    found = embedding_map(
        cohort(age=ages, gender=["F", "M"] * 7, site=[1, 2, 3, 4, 5, 6, 7] * 2),
        np.random.default_rng(2).normal(size=(14, 4)),
    )
    assert found is not None
    assert {"label", "site", "sex", "age"} <= set(found.points)
    drawing = embedding_figure(found.points, found.shares, "diagnosis")
    assert "diagnosis, site, sex, age" in drawing
    assert "other or not known" in drawing  # the seventh site
    again = redrawn(drawing.kind, drawing.name, read_back(csv_text(drawing.table).encode()), drawing.facts)
    assert str(again) == str(drawing)


def test_a_column_of_one_value_has_no_panel() -> None:
    found = embedding_map(cohort(site=["north"] * 14), np.random.default_rng(3).normal(size=(14, 4)))
    assert found is not None
    assert "coloured by diagnosis" in embedding_figure(found.points, found.shares, "diagnosis")


def test_what_cannot_be_projected_is_not() -> None:
    assert embedding_map(cohort(), np.ones((14, 4))) is None
    assert embedding_map(cohort(2), np.random.default_rng(0).normal(size=(3, 4))) is None
