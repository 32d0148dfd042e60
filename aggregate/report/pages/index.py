"""`index.html`: what a run folder holds, verb by verb. Importing it needs the `report` extra."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aggregate.cohort.task import Metric
from aggregate.common.artefacts import write_text
from aggregate.common.run_folder import (
    EPOCH,
    FAILED,
    INDEX,
    METRICS_FILE,
    NULL,
    PAIRS,
    REPORT,
    VERBS,
    verb_folder,
)
from aggregate.explain.terminal import headline
from aggregate.report.pages.rendering import rendered
from aggregate.report.text.headlines import headlines
from aggregate.report.text.words import LEVEL, interval, named, number, p_value, verdict
from aggregate.statistics.cautions import cannot_compare
from aggregate.statistics.evaluate import AUROC
from aggregate.targets.told import primary_of
from cache_schema.common.stored_json import read_json

DOES = {
    "train": "Training: one head in cross-validation, beside its baselines",
    "evaluate": "External evaluation: the trained bundle on participants outside its training",
    "explain": "Explanation: which slices the head decides by, beside controls",
    "ablate": "Ablation: many configurations on the same folds",
    "detect": "Detection: anomaly detectors, fitted on a reference group",
}
MEANS = {
    "attention.csv": "evidence of every slice, by method",
    "methods.csv": "a row per method and control",
    "predictions.csv": "every out-of-fold prediction",
    "ablation.csv": "a row per configuration",
    "detectors.csv": "a row per detector and region",
    "scores.csv": "a score per volume",
    "pairs": "two classes at a time, each like this folder",
    "bundle": "what predict applies to another store",
    "maps": "maps as NIfTI",
    "participants": "pages of the most telling participants",
    "viewer.html": "images and maps, to click through",
    "methods.md": "methods in sentences, for a paper",
    "references.bib": "what the methods cite",
    "tables": "tables for a paper: LaTeX and CSV",
    "figures": "figures as SVG and PDF, and their numbers",
    "checklist.html": "TRIPOD+AI and CLAIM, item by item",
    "config.yaml": "the same run again",
    "requirements.lock": "versions of what computed it",
    "metrics.json": "every figure",
    "products.json": "what slices were multiplied by, and how fast each way was",
    "ablation.md": "table and sentences, for a text",
    "ablation.tex": "the table, for a paper",
    "seconds.csv": "what each configuration cost",
    "slices.csv": "a score per slice",
    "journal": "finished runs, for going on",
    "checkpoints": "fits, for going on",
    "scores": "raw maps, for going on",
    FAILED: "volumes that could not be embedded, and why",
    EPOCH: "what an epoch takes with the backbone in the loop, and from the store",
    "report.json": "what the report is made of again",
    "log.txt": "what happened when",
}
"""Files and folders, in the order of their use; others follow by name."""
MOST_FIGURES = 6
"""Figures shown of one verb; the rest is in its report."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What one verb left."""

    verb: str
    title: str
    when: str
    """Empty while it has not come to its end."""
    sentence: str
    facts: tuple[tuple[str, str], ...]
    report: str | None
    """Relative address."""
    files: tuple[tuple[str, str, str], ...]
    """Name, relative address and meaning."""


def write_index(run_folder: Path) -> Path:
    """Write the index of a run folder as it is now; nobody ever sees half of it."""
    beside = _files(run_folder, run_folder, (*(FAILED,) * _somebody_failed(run_folder), EPOCH))
    null = _address(run_folder, run_folder / NULL / INDEX) if (run_folder / NULL / INDEX).is_file() else None
    content = {
        "folder": run_folder.name,
        "headlines": headlines(run_folder),
        "entries": entries(run_folder),
        "beside": beside,
        "null": null,
    }
    text = rendered("index.html", content)
    write_text(run_folder / INDEX, text)
    return run_folder / INDEX


def entries(run_folder: Path) -> list[Entry]:
    """What every verb left, and what lies in the run folder itself since before verbs had folders."""
    places = [(verb, verb_folder(run_folder, verb)) for verb in VERBS]
    found = [_entry(run_folder, verb, folder) for verb, folder in places if _holds_more_than_pairs(folder)]
    for verb, folder in places:
        ended = sorted(folder.glob(f"{PAIRS}/*/{METRICS_FILE}"))
        found += [_entry(run_folder, verb, path.parent) for path in ended]
    if (run_folder / METRICS_FILE).is_file():
        kinds = {"detectors.csv": "detect", "ablation.csv": "ablate"}
        own = next((verb for name, verb in kinds.items() if (run_folder / name).is_file()), "train")
        found.append(_entry(run_folder, own, run_folder))
    return found


def _somebody_failed(run_folder: Path) -> bool:
    """Whether the list of failures has a row below its head."""
    path = run_folder / FAILED
    return path.is_file() and len(path.read_text(encoding="utf-8").splitlines()) > 1


def _holds_more_than_pairs(folder: Path) -> bool:
    """Whether a verb worked on the whole cohort, too."""
    return folder.is_dir() and {path.name for path in folder.iterdir()} != {PAIRS}


def _entry(run_folder: Path, verb: str, folder: Path) -> Entry:
    """What one verb left in its folder."""
    older = folder == run_folder
    title = DOES[verb] + (", in the run folder itself as older versions left it" if older else "")
    title += f": {folder.name}" if folder.parent.name == PAIRS else ""
    names = [path.name for path in folder.iterdir() if not (older and path.name in (*VERBS, INDEX))]
    files = _files(run_folder, folder, [name for name in names if not name.endswith(".partial")])
    report = _address(run_folder, folder / REPORT) if (folder / REPORT).is_file() else None
    when, sentence = "", "Not finished: run the same command again."
    facts: tuple[tuple[str, str], ...] = ()
    if (folder / METRICS_FILE).is_file():
        when = f"{datetime.fromtimestamp((folder / METRICS_FILE).stat().st_mtime):%Y-%m-%d %H:%M}"
        sentence, facts = index_headline(verb, folder / METRICS_FILE)
    return Entry(verb, title, when, sentence, facts, report, tuple(files))


def _files(run_folder: Path, folder: Path, names: Any) -> list[tuple[str, str, str]]:
    """Those of these files that are there, the known ones first."""
    order = list(MEANS)
    there = [name for name in names if (folder / name).exists() and name != REPORT]
    there.sort(key=lambda name: (order.index(name) if name in order else len(order), name))
    return [(name, _address(run_folder, folder / name), MEANS.get(name, "")) for name in there]


def _address(run_folder: Path, path: Path) -> str:
    """Relative, as an address in HTML."""
    return quote(path.relative_to(run_folder).as_posix()) + ("/" if path.is_dir() else "")


def index_headline(verb: str, path: Path) -> tuple[str, tuple[tuple[str, str], ...]]:
    """A sentence and the first figures of a `metrics.json`, also of one that an older version wrote."""
    try:
        metrics = read_json(path.read_bytes())
        sentence, facts = {
            "train": _training,
            "evaluate": _external,
            "explain": _explained,
            "ablate": _ablation,
            "detect": _detection,
        }[verb](metrics)
        return sentence, (("participants", str(metrics["n_participants"])), *facts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return f"Its {METRICS_FILE} cannot be read.", ()


Figures = tuple[str, list[tuple[str, str]]]


def _training(metrics: Mapping[str, Any]) -> Figures:
    return verdict(metrics), _judged(metrics)


def _external(metrics: Mapping[str, Any]) -> Figures:
    names = {"calibration_slope": "calibration slope", "brier": "Brier"}
    found = {told: metrics["metrics"].get(name) for name, told in names.items()}
    more = [(told, _with_interval(row)) for told, row in found.items() if row and row["value"] is not None]
    return f"Outside training: {verdict(metrics)}", [*_judged(metrics), *more]


def _judged(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The primary metric of the configuration and of its baselines, with intervals."""
    primary = primary_of(metrics)
    rows = {str(metrics["configuration"]): metrics["metrics"], **metrics["baselines"]}
    return [
        (f"{primary.words}, {named(name)}", _with_interval(row[primary.name]))
        for name, row in rows.items()
        if row.get(primary.name, {}).get("value") is not None
    ][:MOST_FIGURES]


def _explained(metrics: Mapping[str, Any]) -> Figures:
    return headline(metrics), [
        (found["words"], found["verdict"]) for found in list(metrics["methods"].values())[:MOST_FIGURES]
    ]


def _ablation(metrics: Mapping[str, Any]) -> Figures:
    ablation = metrics["ablation"]
    told = [_primary(found, primary_of(metrics)) for found in ablation["primary"]]
    facts = [("configurations", str(ablation["n_configurations"])), ("runs", str(ablation["n_runs"]))]
    return "; ".join(told) or "Nothing was named beforehand.", [*facts, *_judged(metrics)[:3]]


def _primary(found: Mapping[str, Any], metric: Metric = AUROC) -> str:
    """One comparison that was named beforehand, judged by Holm's p as the report judges it."""
    first, second = map(named, found["configurations"])
    p = found.get("p_holm")
    if p is None:
        return cannot_compare(first, second, found if "difference" in found else None)
    better = "better" if metric.gain(found["difference"]) > 0 else "worse"
    return (
        f"{first} against {second}: {'not shown to differ' if p >= LEVEL else better} ({metric.words} "
        f"{number(found['difference'], signed=True)}, {interval(found, signed=True)}, Holm {p_value(p)})"
    )


def _detection(metrics: Mapping[str, Any]) -> Figures:
    verdicts = metrics["verdict"]
    facts = []
    for name, row in {**metrics["metrics"], **metrics["baselines"]}.items():
        found = row.get("foreground", {}).get("pixel_auroc") or row["volume_auroc"]
        if found["value"] is not None:
            facts.append(
                (
                    f"{'pixel' if 'foreground' in row else 'volume'} AUROC, {named(name)}",
                    _with_interval(found),
                )
            )
    return verdicts if isinstance(verdicts, str) else " ".join(verdicts[:1]), facts[:MOST_FIGURES]


def _with_interval(found: Mapping[str, Any]) -> str:
    """`0.81 (0.70 to 0.92)`."""
    return number(found["value"]) + (f" ({interval(found)})" if interval(found) else "")
