"""The paper kit: made again from the folder alone, byte for byte; sentences and tables are the run's own."""

import html
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from made_up_store import example_arrays, example_draft, example_header, example_row

import slicecache as conductor
from aggregate.ablate.findings.compare import Row
from aggregate.ablate.findings.folded import folded, idle_sentences
from aggregate.paper.bibliography import bibtex, cited, references
from aggregate.paper.captions import captions
from aggregate.paper.checklist import CLAIM, TRIPOD
from aggregate.paper.finished import TO_FILL, Finished, read_finished
from aggregate.paper.kit import remake
from aggregate.paper.sentences import calibrated, configurations, statistics
from aggregate.paper.tables.table import Table
from aggregate.report.figures.drawing import Drawing
from aggregate.report.figures.studies.ablation import Mark, differences
from aggregate.reporting import report_run
from aggregate.statistics.corrected import Interval
from aggregate.statistics.evaluate import AUROC
from cache_schema.common.errors import ConfigError
from cache_schema.format.identity import VolumeKey
from cache_schema.store.writer import StoreWriter

LOOKS_AT_FIGURES = True

N = 23
ARCHIVE = Path(__file__).parents[1] / "data" / "v1"
MADE = (
    *("report.html", "methods.md", "captions.md", "references.bib", "checklist.html", "tables"),
    *("*.svg", "*.pdf"),
)
"""What `report` makes; everything else in a verb's folder is what it makes it from."""
Edit = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a small training, an ablation and an evaluation; stores and tables are gone."""
    folder = tmp_path_factory.mktemp("paper")
    made_cohort(folder, "cohort", 0, N)
    made_cohort(folder, "other", 100, 14)
    ablate = {
        "configurations": {
            "mean_pool": {"head.kind": "mean"},
            "abmil": {"head.hidden": 5, "label": "ABMIL & friends"},
        },
        "grid": {
            "from": "abmil",
            "loss.class_variance.weight": [0, 0.5],
            "train.learning_rate": [0.01, 0.02],
        },
        "primary": [["abmil", "mean_pool_logistic"]],
        "repeats": 1,
    }
    pipeline = {
        "run": {"folder": "run"},
        "cache": {"store": "cohort.zarr"},
        "aggregate": {
            "cohort": "cohort.tsv",
            "target": {"column": "diagnosis", "positive": "patient"},
            "train": {"epochs": 4, "learning_rate": 0.01},
            "folds": {"n": 3, "repeats": 2},
            "ablate": ablate,
        },
    }
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(pipeline))
    for verb in ("train", "ablate"):
        assert conductor.guarded(conductor.cli.main, [verb, str(folder / "pipeline.yaml")]) == 0
    other = ["--store", str(folder / "other.zarr"), "--cohort", str(folder / "other.tsv")]
    assert conductor.guarded(conductor.cli.main, ["evaluate", str(folder / "run"), *other]) == 0
    for name in ("cohort", "other"):
        shutil.rmtree(folder / f"{name}.zarr")
        (folder / f"{name}.tsv").unlink()
    return folder / "run"


def made_cohort(folder: Path, name: str, first: int, n: int) -> None:
    """A store in which patients' tokens are shifted, and its table."""
    header = example_header(("cls", "patch_mean"), slice_chunk=5)
    people = range(first, first + n)
    keys = {i: VolumeKey(f"sub-{i:03d}", "", "T1w") for i in people}
    writer = StoreWriter.open(
        str(folder / f"{name}.zarr"), header, [example_row(key, 2 + i % 4) for i, key in keys.items()]
    )
    for i, key in keys.items():
        arrays = example_arrays(header, 2 + i % 4, i)
        shifted = {array: values + np.float32(i % 2) for array, values in arrays.items()}
        writer.commit(example_draft(key, 2 + i % 4), shifted)
    rows = [f"sub-{i:03d}\t{50 + i % 23}\t{'patient' if i % 2 else 'control'}" for i in people]
    (folder / f"{name}.tsv").write_text("\n".join(["participant_id\tage\tdiagnosis", *rows, ""]))


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(finished, tmp_path / "run", copy_function=shutil.copy2))


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def methods_of(folder: Path) -> str:
    return " ".join((folder / "methods.md").read_text().split())


@pytest.mark.slow
def test_report_makes_the_same_bytes_without_the_store(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files_of(run)
    for verb in ("train", "ablate", "evaluate"):
        for pattern in MADE:
            for path in [p for p in (run / verb).rglob(pattern) if "bundle" not in p.parts]:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    (run / "index.html").unlink()
    assert len(files_of(run)) < len(before) - 20
    for _ in range(2):
        assert conductor.guarded(conductor.cli.main, ["report", str(run)]) == 0
        after = files_of(run)
        assert after.keys() == before.keys()
        assert [name for name in before if after[name] != before[name]] == []
    assert f"train: {run / 'train'}" in capsys.readouterr().out


def test_a_figure_stands_as_svg_pdf_and_csv(run: Path) -> None:
    for verb, names in {
        "train": ("forest", "roc", "learning", "confusion"),
        "ablate": ("differences",),
        "evaluate": ("roc", "calibration", "decision_curve", "confusion"),
    }.items():
        folder = run / verb / "figures"
        drawn = [path for path in folder.iterdir() if path.name != "captions.md"]
        found = {path.stem: {p.suffix for p in folder.glob(f"{path.stem}.*")} for path in drawn}
        assert set(names) <= found.keys()
        assert all(endings == {".csv", ".svg", ".pdf"} for endings in found.values()), found
        assert all((folder / f"{name}.pdf").read_bytes().startswith(b"%PDF") for name in found)


def test_every_figure_has_its_caption_beside_it(run: Path) -> None:
    for verb in ("train", "ablate", "evaluate"):
        folder = run / verb / "figures"
        text = (folder / "captions.md").read_text()
        told = dict(re.findall(r"^\*\*(\w+)\*\* \([^)]*\): (.+)$", text, re.MULTILINE))
        assert told.keys() == {path.stem for path in folder.glob("*.svg")}
        page = re.sub(r"<[^>]*>", "", (run / verb / "report.html").read_text())
        page = " ".join(html.unescape(page).split())
        alone = {"confusion", "learning"} & told.keys()
        assert all(text.replace("`", "") in page for name, text in told.items() if name not in alone)
        if verb != "ablate":
            assert told["confusion"].startswith("Participants")
    assert told["roc"] == "ROC over participants outside training."
    page = "<figure>SVG<figcaption>a <b>x</b> &lt;i&gt;\n b</figcaption></figure>"
    odd = captions(page, {"f": Drawing("SVG")})
    assert odd.endswith("**f** (`f.svg`, `.pdf`, `.csv`): a x &lt;i> b\n")


EDITS: list[tuple[str, Edit, str, str]] = [
    ("metrics.json", lambda m: m.update(n_participants=77), "holds 23 participants", "holds 77 participants"),
    (
        "metrics.json",
        lambda m: m["metrics"]["auroc"].update(value=0.4321),
        "reaches AUROC|against",
        "AUROC 0.43",
    ),
    ("metrics.json", lambda m: m.update(n_repeats=7), "repeated 2 times", "repeated 7 times"),
    (
        "config.yaml",
        lambda c: c["aggregate"]["train"].update(learning_rate=0.123),
        "rate of 0.01",
        "rate of 0.123",
    ),
    (
        "config.yaml",
        lambda c: c["aggregate"]["head"].update(kind="gated_attention"),
        "head attention",
        "head gated",
    ),
    (
        "config.yaml",
        lambda c: c["aggregate"]["loss"].update(supcon={"weight": 0.5, "temperature": 0.2}),
        "The loss is 1 × cross entropy",
        "0.5 × supcon [@khosla2020supcon] (temperature 0.2)",
    ),
    (
        "report.json",
        lambda r: r["headers"]["main"]["fingerprint"].update(slices={"kind": "every", "step_mm": 31.0}),
        "slices",
        "A slice every 31 mm",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "edit", "before", "after"), EDITS)
def test_a_changed_run_changes_its_sentences(
    run: Path, name: str, edit: Edit, before: str, after: str
) -> None:
    path = run / "train" / name
    text = methods_of(run / "train")
    assert re.search(before, text)
    assert after not in text
    data = yaml.safe_load(path.read_text())
    edit(data)
    path.write_text(json.dumps(data) if name.endswith("json") else yaml.safe_dump(data))
    remake(run / "train", "train")
    assert after in methods_of(run / "train")


def numbers_in(value: Any) -> set[str]:
    """Every number of JSON, YAML or text as it may be told: in full, short, and rounded."""
    if isinstance(value, dict):
        return set().union(*(numbers_in(item) for pair in value.items() for item in pair))
    if isinstance(value, list | tuple):
        return set().union(set(), *(numbers_in(item) for item in value))
    if isinstance(value, bool) or value is None:
        return set()
    if isinstance(value, int | float):
        found = abs(value)
        return {f"{found:g}", str(found), f"{found:.2f}", f"{found:.3f}"}
    return set(re.findall(r"\d+(?:\.\d+)*", str(value)))


SAID = {"95", "0.05", "0.5", "1", "512", "0"}
"""Numbers of the method itself: the level, the threshold where none is chosen, the largest whole batch."""


def test_an_evaluation_and_a_detection_say_their_own(run: Path, study: Any, tmp_path: Path) -> None:
    text = methods_of(run / "evaluate")
    assert "The analysis holds 14 participants" in text
    assert "6 members were applied as they were" in text
    assert "delong1988comparing" in (run / "evaluate" / "references.bib").read_text()
    study.detect()
    folder = tmp_path / "run" / "detect"
    before = files_of(folder)
    (folder / "report.html").unlink()
    remake(folder, "detect")
    assert files_of(folder) == before
    text = methods_of(folder)
    assert "participants whose `diagnosis` is control" in text
    assert "memory bank [@damm2025anomalydino] (" in text
    assert "memory_bank beats position and intensity" in text
    assert {"voxels_foreground.tex", "volumes.tex"} <= {path.name for path in (folder / "tables").iterdir()}


@pytest.mark.parametrize("verb", ["train", "ablate"])
def test_every_number_in_the_methods_is_the_runs(run: Path, verb: str) -> None:
    found = read_finished(run / verb, verb)
    known = numbers_in([found.metrics, found.config, found.kept, found.lock]) | SAID
    known |= {str(len(found.metrics["left_out"])), str(len(found.said("tokens").split("+")))}
    usual = {"3", "0.003", "200", "0.01"}  # of a training that starts at the baseline: TrainSpec's own
    text = re.sub(r"\[@[^\]]*\]|`[^`]*`|2003", "", methods_of(run / verb).split("## What was found")[0])
    told = set(re.findall(r"\d+(?:\.\d+)*", text))
    assert told - known - usual == set()
    assert len(told) > 20


def test_references_are_what_is_cited_and_only_that(run: Path) -> None:
    text, entries = methods_of(run / "train"), (run / "train" / "references.bib").read_text()
    assert set(re.findall(r"^@\w+\{(\w+),", entries, re.MULTILINE)) == set(cited(text))
    assert {"ilse2018attention", "nadeau2003inference", "paszke2019pytorch"} <= set(cited(text))
    assert "holm1979simple" not in entries
    of_grid = (run / "ablate" / "references.bib").read_text()
    assert "holm1979simple" in of_grid
    # Only one value of the grid's axis uses this term; the section does not.
    assert "rafsani2025dinoatten3d" in of_grid
    assert "`loss.class_variance.weight` over 0 and 0.5 [@rafsani2025dinoatten3d]" in methods_of(
        run / "ablate"
    )


@pytest.mark.parametrize(
    ("path", "value", "keys"),
    [
        ("loss.supcon", 0.5, ["khosla2020supcon"]),
        ("loss.supcon.weight", 0.0, []),
        ("loss", {"supcon": {"weight": 0.1, "temperature": 0.2}, "focal": 0}, ["khosla2020supcon"]),
        ("head", "dsmil", ["li2021dsmil"]),
        ("head", {"kind": "attention", "hidden": 5}, ["ilse2018attention"]),
        ("harmonise", "combat", ["johnson2007combat", "fortin2018combat"]),
        ("train.optimiser", "adamw", ["loshchilov2019adamw"]),
        ("train.epochs", 7, []),
        ("tokens", "cls", []),
    ],
)
def test_what_any_point_of_a_grid_uses_is_cited(path: str, value: Any, keys: list[str]) -> None:
    assert list(configurations.sources(path, value)) == keys
    spec = {"grid": {"from": "abmil", path: [value, value]}, "include": [{path: value}]}
    assert cited(configurations.crossed(spec)) == keys
    assert cited(configurations.added(spec)) == keys


def test_a_recipe_brings_what_its_parts_come_from() -> None:
    found = set(configurations.sources("recipe", "dinoatten3d"))
    assert {"rafsani2025dinoatten3d", "khosla2020supcon"} <= found


def test_every_key_that_a_sentence_may_cite_has_an_entry_and_every_entry_a_sentence() -> None:
    sources = [p.read_text() for p in (Path(conductor.__file__).parent / "aggregate" / "paper").rglob("*.py")]
    keys = set(re.findall(r"[\"']([a-z]+\d{4}[a-z0-9]*|slicecache|zarr)[\"']", "\n".join(sources)))
    assert keys == references().keys()
    assert all(entry.count("{") == entry.count("}") for entry in references().values())
    assert bibtex(["zarr", "holm1979simple"]).count("\n@") == 1


def test_tables_are_latex_that_is_whole(run: Path) -> None:
    made = {path.stem: path.read_text() for path in (run / "ablate" / "tables").glob("*.tex")}
    assert {"configurations", "primary", "reference", "cohort"} <= made.keys() | {"cohort"}
    for text in made.values():
        rows = [line for line in text.splitlines() if line.endswith(r" \\")]
        assert len({len(re.findall(r"(?<!\\)&", row)) for row in rows}) == 1
        assert text.count("\\begin{") == text.count("\\end{") == 2
    assert r"ABMIL \& friends" in made["configurations"]
    assert r"ABMIL \& friends against mean pooling" in made["primary"]
    assert "abmil" not in made["configurations"]
    odd = Table("odd", "50 % of _x_", ("a&b",), ((r"\input{/etc/passwd} $x$ #1 ^~",),)).latex()
    assert r"\textbackslash{}input\{/etc/passwd\} \$x\$ \#1 \textasciicircum{}\textasciitilde{}" in odd


def test_the_ablation_draws_the_primary_comparison_and_says_how_to_make_it_again(run: Path) -> None:
    table = (run / "ablate" / "figures" / "differences.csv").read_text().splitlines()
    assert table[1].startswith("ABMIL & friends against mean pooling + logistic regression,")
    assert [line.split(",")[-2] for line in table[1:]] == ["True"] + ["False"] * (len(table) - 2)
    assert any(" = ABMIL & friends class_variance=0.5" in line for line in table)
    assert "abmil" not in "".join(table)
    curves = pd.read_csv(run / "ablate" / "figures" / "roc.csv")["name"].unique()
    assert "ABMIL & friends" in curves
    assert "abmil" not in curves
    text = (run / "ablate" / "report.html").read_text()
    assert "In figures ABMIL &amp; friends is abmil." in text
    latex = (run / "ablate" / "ablation.tex").read_text()
    assert r"ABMIL \& friends$^{\dagger}$ & 1.000" in latex
    assert "slicecache ablate config.yaml" in text
    assert "requirements.lock" in text


def made_row(variance: float, supcon: float, difference: float) -> Row:
    varied = {"loss.class_variance.weight": variance, "loss.supcon": supcon}
    found = {"difference": difference, "ci_low": difference - 0.1, "ci_high": difference + 0.1, "p": 0.2}
    name = f"abmil supcon={supcon} class_variance={variance}"
    value = Interval(0.7, 0.6, 0.8)
    return Row(name, varied, 5, {"auroc": value}, AUROC, 0.1, found, "exploratory", None, found)


def test_baselines_of_an_ablation_are_called_baselines(run: Path) -> None:
    lines = (run / "ablate" / "ablation.md").read_text().splitlines()
    kinds = {cells[1]: cells[9] for line in lines if len(cells := [c.strip() for c in line.split("|")]) == 12}
    assert kinds["mean_pool"] == "exploratory"
    assert kinds["mean pooling + logistic regression"] == "primary"  # it was named beforehand
    assert {kinds[f"{name} only"] for name in ("confounds", "scanner", "head size")} == {"baseline"}
    table = pd.read_csv(run / "ablate" / "ablation.csv").set_index("configuration")
    assert set(table.loc[["confounds_only", "scanner_only"], "comparison"]) == {"baseline"}


def test_rows_that_came_out_alike_are_one_and_idle_keys_are_named() -> None:
    rows = [made_row(v, s, 0.1 * s) for s in (0.5, 1.0) for v in (0.0, 0.1, 1.0)]
    groups = folded(rows)
    assert [group.name for group in groups] == [
        f"abmil supcon={s} (class_variance 0.0, 0.1 and 1.0 alike)" for s in (0.5, 1.0)
    ]
    assert idle_sentences(groups) == ["class_variance changes nothing here"]
    moved = folded([*rows[:-1], made_row(1.0, 1.0, 0.2)])
    assert len(moved) == 3
    assert idle_sentences(moved) == []
    # Equal differences are no equal results: both may count as guessing.
    worse = replace(rows[1], intervals={"auroc": Interval(0.3, 0.2, 0.4)})
    assert len(folded([rows[0], worse])) == 2


def test_fifty_rows_stay_legible() -> None:
    marks = [
        Mark(f"configuration {i}", i / 50, i / 50 - 0.1, i / 50 + 0.1, i == 0, i % 2 == 0) for i in range(50)
    ]
    drawing = differences(marks, "mean pooling", AUROC)
    found = [
        re.search(pattern, drawing) for pattern in (r' height="(\d+)', r"min-width:(\d+)", r' width="(\d+)')
    ]
    height, least, width = (float(match[1]) for match in found if match)
    smallest = min(float(size) for size in re.findall(r"font-size: ([\d.]+)px", drawing))
    assert height / 50 >= 25
    assert smallest * 96 / 72 * least / width >= 10
    assert all(drawing.count(f">configuration {i}<") == 1 for i in range(50))


def test_the_checklists_have_their_items_once_and_leave_open_what_nobody_said(run: Path) -> None:
    numbers = [item.number for item in TRIPOD]
    assert len(numbers) == len(set(numbers)) == 52
    assert sorted({int(re.sub(r"\D", "", number)) for number in numbers}) == list(range(1, 28))
    assert [item.number for item in CLAIM] == [str(n) for n in range(1, 43)]
    text = (run / "train" / "checklist.html").read_text()
    assert text.count('<tr class="open">') == text.count(f"<td>{TO_FILL}</td>") > 30
    assert "cross entropy" in text


def test_the_lock_names_what_computed(run: Path) -> None:
    lock = (run / "train" / "requirements.lock").read_text()
    assert {"torch", "numpy", "slicecache", "zarr"} <= {line.partition("==")[0] for line in lock.splitlines()}


def test_a_run_from_before_gets_methods_with_gaps(tmp_path: Path) -> None:
    for verb in ("train", "detect"):
        shutil.copytree(ARCHIVE / verb, tmp_path / "run" / verb)
    assert [one.verb for one in report_run(tmp_path / "run")] == ["train", "detect"]
    text = methods_of(tmp_path / "run" / "train")
    assert f"Backbone: {TO_FILL}" in text
    assert "The analysis holds 9 participants (control 5, patient 4)" in text
    assert "memory bank [@damm2025anomalydino]" in methods_of(tmp_path / "run" / "detect")
    assert not (tmp_path / "run" / "train" / "report.html").exists()


def spoil(path: Path, data: Any) -> None:
    path.write_text(data if isinstance(data, str) else json.dumps(data))


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("figures/forest.csv", "name,value\na,1\n", "cannot draw the figure 'forest'"),
        ("report.json", "[]", "report.json' cannot be read"),
        ("report.json", {"page": {"facts": 3}}, "does not hold a report of train"),
        ("report.json", {"headers": {"main": {"format": "other"}}}, "holds a header that is none"),
        ("metrics.json", "{", "metrics.json' cannot be read"),
        ("config.yaml", "a: [", "config.yaml"),
    ],
)
def test_what_cannot_be_read_is_refused(run: Path, name: str, data: Any, said: str) -> None:
    spoil(run / "train" / name, data)
    with pytest.raises(ConfigError, match=re.escape(said)):
        remake(run / "train", "train")


@pytest.mark.parametrize("place", ["none", "empty"])
def test_where_nothing_is_finished_a_sentence_says_so(place: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"no folder|nothing finished"):
        report_run(tmp_path / place)


def test_what_a_stranger_wrote_into_a_folder_is_text(run: Path) -> None:
    path = run / "train" / "report.json"
    kept = json.loads(path.read_text())
    kept["page"]["notes"] = ["<script>alert(1)</script>"]
    kept["page"]["command"] = {"$whole": "<script>alert(2)</script>"}
    kept["page"]["previews"] = [["x", {"$picture": '"><script>alert(3)</script>'}]]
    spoil(path, kept)
    with pytest.raises(ConfigError, match="a picture is not base64"):
        remake(run / "train", "train")
    kept["page"]["previews"] = []
    spoil(path, kept)
    remake(run / "train", "train")
    assert "<script" not in (run / "train" / "report.html").read_text()


def test_a_place_may_be_a_verbs_folder(run: Path) -> None:
    made: list[Finished] = report_run(run / "ablate")
    assert [one.verb for one in made] == ["ablate"]


def test_methods_say_by_what_folds_were_dealt_and_what_plain_baselines_know(finished: Path) -> None:
    run = read_finished(finished / "train", "train")
    notes = [
        "matched between the classes, so folds are dealt by it too: sex, site",
        "confounds_only: confounds: sex, brain_ml",
        "AUROC below 0.5: confounds_only (0.45). It is no finding",
        "scanner_only: no skull in 23 of 23 bags (stripped or masked): shape_k may tell a crop",
    ]
    told = replace(run, kept={**run.kept, "page": {**run.page, "notes": notes}})
    assert "by what the design matched (sex, site)" in statistics.folds(told)
    words = statistics.comparison(told)
    assert "confounds only (sex, brain_ml)" in words
    assert "volume of the brain in ml, by the images. No skull in 23 of 23 bags" in words
    assert "below 0.5 counts as 0.5" in words
    bare = replace(run, kept={**run.kept, "page": {**run.page, "notes": []}})
    assert "counts as" not in statistics.comparison(bare)
    assert "design matched" not in statistics.folds(bare)


def test_methods_say_how_logits_were_calibrated_and_with_what_numbers(finished: Path) -> None:
    run = read_finished(finished / "train", "train")
    assert run.metrics["calibration"] == {
        "learnt_on": {"nothing": 6},
        "temperature": {"median": 1.0, "low": 1.0, "high": 1.0},
        "threshold": {"median": 0.5, "low": 0.5, "high": 0.5},
    }
    words = calibrated.inside(run)
    assert "fewer than 20 participants of a class, the threshold is 0.5 and the temperature 1" in words
    assert "Here nothing could be learnt in any run" in words
    assert "Median (range)" not in words
    assert words in (finished / "train" / "methods.md").read_text()
    facts = {
        "learnt_on": {"inner folds": 4, "nothing": 2},
        "temperature": {"median": 0.812, "low": 0.5, "high": 1.25},
        "threshold": {"median": 0.447, "low": 0.4, "high": 0.5},
    }
    learnt = replace(run, metrics={**run.metrics, "calibration": facts})
    words = calibrated.inside(learnt)
    assert "temperature with the lowest cross entropy [@guo2017calibration]" in words
    assert "Of 6 runs they were learnt on inner folds of the training part" in words
    assert "the temperature 0.81 (0.50 to 1.25) and the threshold 0.45 (0.40 to 0.50)" in words
    several = calibrated.inside(replace(learnt, metrics={**learnt.metrics, "task": "multiclass"}))
    assert "the temperature 0.81" in several
    assert "threshold" not in several
    assert calibrated.inside(replace(run, metrics={**run.metrics, "task": "regression"})) == ""
