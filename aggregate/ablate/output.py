"""Files of an ablation; `metrics.json` is last, so that its presence means all is there."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from aggregate.ablate.findings.results import AblationResults
from aggregate.ablate.findings.tables import csv_frame, latex, markdown
from aggregate.ablate.runs.prepare import PreparedStudy
from aggregate.common.artefacts import csv_text, write_json, write_text, write_yaml
from aggregate.common.run_folder import METHODS, METRICS_FILE, REPORT
from aggregate.statistics.evaluate import OutOfFold
from aggregate.train.predictions import predictions
from cache_schema.files.disk.whole import replacing

Outputs = Mapping[str, tuple[OutOfFold, ...]]


def write_all(results: AblationResults, prepared: PreparedStudy, outputs: Outputs) -> None:
    """Write everything; an earlier run's results go first, so that they cannot pass for this one's."""
    folder = results.folder
    for name in (METRICS_FILE, REPORT, METHODS):
        (folder / name).unlink(missing_ok=True)
    write_yaml(folder / "config.yaml", results.config)
    write_predictions(prepared, outputs, folder / "predictions.csv")
    write_text(folder / "ablation.csv", csv_text(csv_frame((*results.rows, *results.baselines))))
    write_text(folder / "ablation.md", markdown(results))
    write_text(folder / "ablation.tex", latex(results))
    # Apart from the results, which are the same bytes whenever the same study runs.
    write_text(folder / "seconds.csv", csv_text(seconds(results)))
    write_json(folder / METRICS_FILE, results.metrics)


def write_predictions(prepared: PreparedStudy, outputs: Outputs, path: Path) -> None:
    """One configuration after another, since a grid's predictions together are large."""
    cohort = prepared.first.cohort
    with replacing(path) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        for index, own in enumerate(outputs.values()):
            frame = predictions(cohort, [own])
            file.write(csv_text(frame, header=index == 0))


def seconds(results: AblationResults) -> pd.DataFrame:
    """What each configuration cost in this process, its share of its blocks, and how large it is."""
    return pd.DataFrame(
        [
            {"configuration": name, "seconds": round(spent, 3), "parameters": results.parameters.get(name)}
            for name, spent in results.seconds.items()
        ],
        columns=["configuration", "seconds", "parameters"],
    )
