"""One of something is one, wherever people read it."""

import re
from pathlib import Path

import pandas as pd

from aggregate.interop.export import HandedOn
from aggregate.report.figures.scores.said import told_n
from cache_schema.common.text.counts import counted
from extract.cluster.slurm import Jobs
from extract.outcome import Outcome

PLURAL = re.compile(r"\b1 (?!mm)[a-z ]*?(?:volumes|slices|participants|tasks|runs|sessions)\b")


def test_a_number_of_things_is_told() -> None:
    assert [counted(n, "fold") for n in (0, 1, 2)] == ["0 folds", "1 fold", "2 folds"]


def test_one_of_something_is_no_plural() -> None:
    jobs = Jobs({"main": "a.zarr"}, Path("scripts"), (0,), 1, 1, 1, "11", "12")
    outcome = Outcome("a.zarr", 1, 0, 0, 1, 2.0, "", ())
    told = [
        jobs.in_words(),
        Jobs({"main": "a.zarr"}, Path("scripts"), (), 1, 1, 0, None, None).in_words(),
        repr(outcome),
        told_n(pd.DataFrame({"label": ["a"]}), ["a", "b"]),
        HandedOn(Path("a.h5ad"), "h5ad", 1, ()).in_words(),
    ]
    assert [one for one in told if PLURAL.search(one)] == []
    assert "array job 11: 1 task, 1 volume to embed" in told[0]
    assert told[1].startswith("1 volume is left, and tasks")
    assert told[3] == "1 participant (1 a, 0 b)"
