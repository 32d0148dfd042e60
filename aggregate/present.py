"""What a verb leaves for people once its study is done: its report, and the run folder's index.

Both need the `report` extra; without it the results stay, and the terminal says that nothing was drawn.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from aggregate.common.run_folder import INDEX, REPORT, place_of_pair

if TYPE_CHECKING:
    from aggregate.ablate.findings.results import AblationResults
    from aggregate.evaluate.results import EvaluationResults
    from aggregate.train.results import Results

DRAWN_BY = ("jinja2", "markupsafe", "matplotlib")
"""What the `report` extra brings."""


def present_training(results: "Results", run_folder: Path) -> None:
    """Write the reports of a training and of its contrasts, wherever its folder is now, and the index."""
    with _report_extra():
        from aggregate.report.html import render_report

        for each in results.contrasts:
            place = place_of_pair(results.folder, each.folder.name)
            render_report(replace(each, folder=place, config=results.config), place / REPORT)
        render_report(results, results.folder / REPORT)
    present_index(run_folder)


def present_ablation(results: "AblationResults", run_folder: Path) -> None:
    """Write an ablation's report and the index."""
    with _report_extra():
        from aggregate.report.ablation import render_ablation

        render_ablation(results, results.folder / REPORT)
    present_index(run_folder)


def present_evaluation(results: "EvaluationResults", run_folder: Path) -> None:
    """Write an external evaluation's report, its figures and the index."""
    with _report_extra():
        from aggregate.report.evaluation import render_evaluation

        render_evaluation(results)
    present_index(run_folder)


def present_index(run_folder: Path) -> None:
    """Write the index of everything that the run folder holds."""
    with _report_extra():
        from aggregate.report.index import write_index

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
