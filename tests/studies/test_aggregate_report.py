"""The report: self-contained, well-formed, escaped, repeatable; its sentences say what the numbers say."""

import html.parser
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from aggregate.ablate.findings.claims import primary_sentence
from aggregate.ablate.findings.compare import Comparison
from aggregate.cohort.table.join import LeftOut
from aggregate.cohort.turnout import Turnout
from aggregate.report.pages import index
from aggregate.report.pages.training import page, render_report
from aggregate.report.text.tables import comparison_table
from aggregate.report.text.words import named, verdict
from aggregate.statistics.evaluate import AUROC
from aggregate.train.results import Results
from aggregate.train.terminal import comparison_sentence
from cache_schema.format.header import BackboneIdentity, Fingerprint, Header, Numerics
from cache_schema.format.layout import token_arrays

LOOKS_AT_FIGURES = True

PNG = b"\x89PNG\r\n\x1a\nnot really"
VOID = {"meta", "img", "link", "br", "hr", "input", "path", "use", "rect"}
ODD = "<script>alert('x')</script>&\"'é"


class Reader(html.parser.HTMLParser):
    """Checks that tags are closed in order; collects text, loads and ids."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open, f"</{tag}> closes nothing"
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


def words_of(text: str) -> str:
    return " ".join(" ".join(read(text).text).split())


def header(kind: str) -> Header:
    return Header(
        fingerprint=Fingerprint(
            backbone=BackboneIdentity(
                architecture={"kind": kind, "size": "tiny"}, weights_sha256="a" * 64, position_table="none"
            ),
            preprocessing=({"step": "canvas", "field_mm": 224},),
            slices={"kind": "foreground"},
        ),
        numerics=Numerics(compute_dtype="float32", storage_dtype="float16", resize_backend="matmul-float32"),
        arrays=token_arrays(("cls",), dim=8, heads=2, grid=(2, 2), dtype="float16"),
        slice_chunk=7,
    )


def results(classes: tuple[str, ...] = ("control", "patient"), kind: str = "untrained") -> Results:
    """A made-up training of 23 participants, 3 folds, 2 repeats, with one baseline."""
    rng = np.random.default_rng(0)
    n = 23
    people = pd.DataFrame(
        {"participant_id": [f"sub-{i:02d}" for i in range(n)], "y": np.arange(n) % len(classes)}
    )
    people = people.assign(
        session_id="", volume_id="T1w", slices=31.0 + people["y"], coverage_mm=120.0, age=50.0
    )
    rows = []
    for configuration in ("attention", "mean_pool_logistic"):
        for repeat in range(2):
            for i, y in enumerate(people["y"]):
                logits = rng.normal(0, 1, len(classes))
                logits[y] += 1
                row: dict[str, Any] = {
                    "configuration": configuration,
                    "repeat": repeat,
                    "fold": i // 3 % 3,
                    "seed": 0,
                }
                row |= {"participant_id": f"sub-{i:02d}", "y": classes[y]}
                rows.append(row | {f"logit_{c}": v for c, v in zip(classes, logits, strict=True)})
    heights = np.tile(np.arange(3.0, 130.0, 7.0), n)
    attention = pd.DataFrame(
        {
            "height_mm": heights,
            "attention": rng.lognormal(0, 0.5, len(heights)),
            "label": np.repeat([classes[y] for y in people["y"]], len(heights) // n),
            "participant_id": np.repeat(people["participant_id"], len(heights) // n),
        }
    )
    metrics: dict[str, Any] = {
        "task": "binary" if len(classes) == 2 else "multiclass",
        "target": "diagnosis",
        "configuration": "attention",
        "n_participants": n,
        "fingerprint": "f" * 64,
        "metrics": {"auroc": {"value": 0.8765, "ci_low": 0.71, "ci_high": 0.98}, "mcc": {"value": -0.123}},
        "ci_method": "corrected resampled t interval",
        "baselines": {"mean_pool_logistic": {"auroc": {"value": 0.7432, "ci_low": 0.6, "ci_high": 0.85}}},
        "comparison": {
            "mean_pool_logistic": {"difference": 0.13, "ci_low": 0.02, "ci_high": 0.2, "p": 0.011}
        },
    }
    return Results(
        folder=Path("runs/x"),
        command="slicecache run pipeline.yaml --set 'a=<b>'",
        config={"aggregate": {"target": "diagnosis", "note": "1 < 2"}},
        metrics=metrics,
        predictions=pd.DataFrame(rows),
        cohort=people,
        classes=classes,
        turnout=Turnout(
            used=len(people),
            known=len(people) + 3,
            left_out=(
                LeftOut("sub-90", "", "T1w", "not in the table"),
                LeftOut("sub-91", "", "T1w", "not in the table"),
                LeftOut("sub-92", "ses-1", "", "no volume"),
            ),
        ),
        header=header(kind),
        content_digest="c" * 64,
        previews=[("sub-00/T1w (control)", PNG)],
        attention=attention,
        site_by_label=pd.DataFrame(
            {c: [3 + k, 9] for k, c in enumerate(classes)}, index=pd.Index(["north", "south"], name="site")
        ),
        notes=["fewer than 20 per class: threshold 0.5"],
        warnings=["site north holds one class"],
    )


def test_the_headline_says_which_class_is_positive() -> None:
    made = results()
    told = words_of(page(replace(made, metrics=made.metrics | {"positive": "<patient>"})))
    said = "Positive, the class that is looked for: <patient>."
    assert told.index("diagnosis: control or patient") < told.index(said) < told.index("Random weights.")
    assert "the class that is looked for" not in words_of(page(results(("a", "b", "c"))))


def test_nothing_is_loaded_and_every_id_is_there_once() -> None:
    text = page(results())
    reader = read(text)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in reader.tags}
    loads = [
        a[name] for _, a in reader.tags for name in ("src", "href", "xlink:href", "srcset") if a.get(name)
    ]
    assert loads
    assert all(load.startswith(("#", "data:image/png;base64,")) for load in loads)
    assert not re.search(r"@import|url\((?!#)", text)
    ids = [a["id"] for _, a in reader.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {load[1:] for load in loads if load[0] == "#"} <= set(ids)
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(ids)


def test_the_numbers_appear() -> None:
    text = words_of(page(results()))
    for expected in ("0.88", "0.71 to 0.98", "0.74", "−0.12", "+0.13", "0.011", "c" * 64, "a" * 64):
        assert expected in text, expected
    assert "2 × not in the table" in text
    assert "north 3 4" in text
    assert "31 120" in text


def test_every_picture_has_a_text() -> None:
    reader = read(page(results()))
    assert all(a.get("alt") for tag, a in reader.tags if tag == "img")
    figures = [a for tag, a in reader.tags if tag == "svg"]
    assert len(figures) == 3
    assert all(a.get("role") == "img" and a.get("aria-label") for a in figures)


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        render_report(results(), tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "b.html"]


@pytest.mark.parametrize(("kind", "there"), [("untrained", True), ("dinov2", False)])
def test_the_banner_is_there_for_random_weights_only(kind: str, there: bool) -> None:
    assert ("Random weights." in words_of(page(results(kind=kind)))) == there


def test_warnings_stand_above_the_results() -> None:
    text = page(results())
    assert text.index("site north holds one class") < text.index(">Result beside the baselines</h2>")
    assert 'class="warning"' not in page(replace(results(), warnings=[]))


def test_odd_names_are_escaped_everywhere() -> None:
    made = results((f"a{ODD}", f"b{ODD}"))
    odd = replace(
        made,
        turnout=Turnout(1, 3, (LeftOut(ODD, "", "T1w", "no row"), LeftOut("a", "", "T1w", ODD))),
        previews=[(ODD, PNG)],
        notes=[ODD],
        warnings=[ODD],
        command=ODD,
        metrics={**made.metrics, "target": ODD},
        site_by_label=pd.DataFrame({ODD: [1]}, index=[ODD]),
    )
    text = page(odd)
    assert "<script" not in text
    assert words_of(text).count(ODD) >= 8


def test_several_classes_get_a_curve_each() -> None:
    text = page(results(("cn", "mci", "ad")))
    assert "mci against the rest" in text
    assert "macro AUROC 0.88" in words_of(text)


def test_the_least_that_may_be_there_is_enough() -> None:
    made = results()
    bare = replace(
        made,
        metrics={
            "task": "binary",
            "n_participants": 23,
            "fingerprint": "f" * 64,
            "metrics": {"auroc": {"value": None, "ci_low": None, "ci_high": None}},
            "ci_method": "",
            "baselines": {},
        },
        predictions=made.predictions.iloc[:0],
        cohort=made.cohort[["participant_id", "y"]],
        attention=made.attention.iloc[:0],
        previews=[],
        turnout=Turnout(),
        site_by_label=None,
        notes=[],
        warnings=[],
    )
    text = words_of(page(bare))
    assert "not defined" in text
    assert "no previews" in text


def test_uniform_attention_is_said_and_not_drawn() -> None:
    made = results()
    flat = replace(made, attention=made.attention.assign(attention=1.0))
    assert "weighs all slices alike" in words_of(page(flat))


@pytest.mark.parametrize(
    ("difference", "p", "said"),
    [
        (0.13, 0.011, "Attention is better than mean pooling"),
        (-0.13, 0.011, "Attention is worse than mean pooling"),
        (0.13, 0.2, "not shown to differ from mean pooling"),
        (0.13, 0.0, "p < 0.001"),
        (0.0, None, "cannot be compared"),
    ],
)
def test_the_verdict_says_what_was_found(difference: float, p: float | None, said: str) -> None:
    metrics = results().metrics
    found = {"difference": difference, "ci_low": -0.1, "ci_high": 0.3, "p": p}
    sentence = verdict({**metrics, "comparison": {"mean_pool_logistic": found}})
    assert said in sentence
    assert ("better than mean" in sentence) == (said.startswith("Attention is better") or p == 0.0)


def test_the_verdict_on_chance() -> None:
    metrics = results().metrics
    assert verdict(metrics).startswith("Attention is better than guessing (AUROC 0.88, 0.71 to 0.98). ")
    wide = {**metrics, "metrics": {"auroc": {"value": 0.6, "ci_low": 0.41, "ci_high": 0.8}}}
    assert "not shown to be better than guessing" in verdict(wide)
    null = {"auroc": {"mean": 0.5, "sd": 0.1, "p": 0.3, "n": 20}}
    assert "not shown to be better than the same training with labels shuffled 20 times" in verdict(
        {**metrics, "null": null}
    )
    few = {"auroc": {**null["auroc"], "p": 1 / 6, "n": 5}}
    assert "so few shuffles cannot give a p below 0.05" in verdict({**metrics, "null": few})


def test_the_verdict_names_what_does_as_well_without_an_embedding() -> None:
    metrics = results().metrics
    assert "Without any embedding" not in verdict(metrics)
    value = metrics["metrics"]["auroc"]["value"]
    rows = {"head_size_only": {"auroc": {"value": value + 0.05}}, "scanner_only": {"auroc": {"value": 0.5}}}
    as_well = verdict({**metrics, "baselines": {**metrics["baselines"], **rows}})
    assert as_well.endswith(f"Without any embedding head size only ({value + 0.05:.2f}) does as well.")


def test_shuffled_labels_do_not_lead_while_the_interval_holds_guessing() -> None:
    metrics = results().metrics
    null = {"auroc": {"mean": 0.5, "sd": 0.04, "p": 0.01, "n": 99}}
    wide = {**metrics, "metrics": {"auroc": {"value": 0.6, "ci_low": 0.41, "ci_high": 0.8}}, "null": null}
    assert (
        "Its interval includes 0.5, so it is not shown to be better than guessing, though it is above the "
        "same training with labels shuffled (AUROC 0.50 ± 0.04, p = 0.010)."
    ) in verdict(wide)
    assert "better than the same training" in verdict({**metrics, "null": null})
    low = {**metrics, "metrics": {"auroc": {"value": 0.3, "ci_low": 0.2, "ci_high": 0.4}}}
    assert "Its interval lies below 0.5" in verdict(low)


def test_a_row_below_guessing_is_said_to_count_as_guessing() -> None:
    metrics = results().metrics
    found = {
        "difference": 0.2,
        "ci_low": 0.1,
        "ci_high": 0.3,
        "p": 0.01,
        "as_guessing": ["mean_pool_logistic"],
    }
    made = {**metrics, "comparison": {"mean_pool_logistic": found}}
    assert ", which counts as 0.5 (difference +0.20" in verdict(made)
    table = comparison_table(made)
    assert table is not None
    assert table.rows[0][0] == "mean pooling + logistic regression, which counts as 0.5"
    assert comparison_sentence("attention", "mean_pool_logistic", found) == (
        "attention differs from mean_pool_logistic, which counts as 0.5: AUROC +0.200 [+0.100, +0.300], "
        "p = 0.010"
    )


def test_a_difference_without_spread_is_said_alike_everywhere() -> None:
    found = {"difference": 0.0, "ci_low": None, "ci_high": None, "p": None, "as_guessing": []}
    why = "cannot be compared: they differ by +0.000 in every fold, and without spread nothing can be said"
    pair = ["attention", "mean_pool_logistic"]
    said = (
        verdict({**results().metrics, "comparison": {"mean_pool_logistic": found}}),
        comparison_sentence(*pair, found),
        primary_sentence(Comparison(*pair, found, None), AUROC),
        index._primary({"configurations": pair, **found, "p_holm": None}, AUROC),
    )
    assert [why in sentence for sentence in said] == [True] * 4


def test_heads_and_recipes_are_called_as_people_call_them() -> None:
    assert [named(kind) for kind in ("attention", "mst", "mean")] == [
        "attention",
        "MST fusion",
        "mean pooling",
    ]
    assert all(named(kind).endswith("(control)") for kind in ("centre_gaussian", "random_attention"))
    assert named("dinoatten3d_released") == "DinoAtten3D as released"
