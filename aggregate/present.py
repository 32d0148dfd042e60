"""What a verb leaves for people once its study is done: its report, and the run folder's index.

Both need the `report` extra; without it the results stay, and the terminal says that nothing was drawn.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from aggregate.common.run_folder import INDEX, REPORT, place_of_pair
from aggregate.common.telling import TELLING, PeopleShown
from cache_schema.common.pipeline_file import MAIN

if TYPE_CHECKING:
    from aggregate.ablate.findings.results import AblationResults
    from aggregate.evaluate.results import EvaluationResults
    from aggregate.explain.results import ExplainResults
    from aggregate.train.results import Results

DRAWN_BY = ("jinja2", "markupsafe", "matplotlib")
"""What the `report` extra brings."""


def present_training(results: "Results", run_folder: Path) -> None:
    """Write the reports of a training and of its contrasts, wherever its folder is now, and the index."""
    with _report_extra():
        for each in results.contrasts:
            place = place_of_pair(results.folder, each.folder.name)
            _present_one(replace(each, folder=place, config=results.config))
        _present_one(results)
    present_index(run_folder)


def _present_one(results: "Results") -> None:
    from aggregate.paper.kit import leave_kit
    from aggregate.report.pages.training import also_drawn, render_report

    content = render_report(results, results.folder / REPORT)
    leave_kit(results.folder, "train", content, {MAIN: results.header}, also_drawn(results))


def present_ablation(results: "AblationResults", run_folder: Path) -> None:
    """Write an ablation's report, its paper kit and the index."""
    with _report_extra():
        from aggregate.paper.kit import leave_kit
        from aggregate.report.pages.ablation import render_ablation

        content = render_ablation(results, results.folder / REPORT)
        leave_kit(results.folder, "ablate", content, {MAIN: results.header})
    present_index(run_folder)


def present_evaluation(results: "EvaluationResults", run_folder: Path) -> None:
    """Write an external evaluation's report, its paper kit and the index."""
    with _report_extra():
        from aggregate.paper.kit import leave_kit
        from aggregate.report.figures.scores.confusion import confusion_figure
        from aggregate.report.pages.evaluation import render_evaluation

        content, confusion = render_evaluation(results), confusion_figure(results.evaluation.metrics)
        also = [] if confusion is None else [confusion]
        leave_kit(results.folder, "evaluate", content, {MAIN: results.header}, also)
    present_index(run_folder)


def present_explanation(results: "ExplainResults", shown: PeopleShown = TELLING) -> None:
    """Write an explanation's pages of participants, its report, its paper kit and the index."""
    with _report_extra():
        from aggregate.paper.kit import leave_kit
        from aggregate.report.pages.explanation import render_explanation
        from aggregate.report.people.explained import write_explained_people

        content = render_explanation(results, write_explained_people(results, shown))
        leave_kit(results.folder, "explain", content, {MAIN: results.study.store.header})
    present_index(results.study.run_folder)


def present_index(run_folder: Path) -> None:
    """Write the index of everything that the run folder holds."""
    with _report_extra():
        from aggregate.report.pages.index import write_index

        write_index(run_folder)


def last_lines(run_folder: Path, folder: Path) -> str:
    """The last lines on the terminal: where everything is.

    Args:
        run_folder: Of the pipeline.
        folder: Of the verb.
    """
    report, index = folder / REPORT, run_folder / INDEX
    if not report.exists() or not index.exists():
        return f"no {REPORT} (it needs pip install 'slicecache[report]'); results: {folder}"
    return f"report: {report}\nindex: {index}"


@contextmanager
def _report_extra() -> Iterator[None]:
    """Go on where only what draws is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in DRAWN_BY:
            raise
