"""What `detect --plan` says of time, bytes and memory: a probe of every detector, and sums of its seconds."""

import json
from types import SimpleNamespace

import pytest
import torch

import slicecache as conductor
from aggregate.anomaly.detectors.base import Growth
from aggregate.anomaly.detectors.memory_bank import MemoryBankSpec
from aggregate.anomaly.detectors.patchcore import PatchcoreSpec
from aggregate.anomaly.detectors.registry import DETECTORS
from aggregate.anomaly.effort import needs
from aggregate.anomaly.effort.after import Aftermath
from aggregate.anomaly.effort.left import Left
from aggregate.anomaly.effort.needs import ProbedFit, ProbedStore, StudyNeeds
from aggregate.anomaly.effort.pace import Pace
from aggregate.anomaly.fitting.fit import fit
from aggregate.anomaly.fitting.stream import open_stream
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.pipeline_file import load_pipeline

STAGES = {"fitting", "scoring", "thresholds", "measuring", "maps", "report"}


def planned(study, capsys, *sets):
    words = ["detect", str(study.file), "--plan", "--json", *(f"--set={value}" for value in sets)]
    assert conductor.guarded(conductor.cli.main, words) == 0
    return json.loads(capsys.readouterr().out)


def test_a_plan_says_time_bytes_and_memory_and_leaves_nothing(study, capsys):
    said = planned(study, capsys)
    found = said["needs"]
    assert set(found["seconds_by_stage"]) == STAGES
    assert all(seconds > 0 for seconds in found["seconds_by_stage"].values())
    total = sum(found["seconds_by_stage"].values())
    assert found["hours"] * 3600 == pytest.approx(total, rel=0.01)
    low, high = found["hours_range"]
    assert low < found["hours"] < high
    assert found["memory_bytes"] > 50e6
    assert said["plan"][-1].startswith("estimate from a short probe: ")
    assert not (study.folder / "run").exists()
    # Scores alone: of every token and slice of 8 volumes, by four detectors in float32.
    slices = sum(study.lengths) / 12 * 8
    assert found["bytes"] > 4 * 4 * slices * 20
    more = planned(study, capsys, "aggregate.detect.seeds=3")["needs"]
    assert more["bytes"] > 1.4 * found["bytes"]


def test_what_an_earlier_run_has_left_is_not_counted_again(study, capsys):
    results = study.detect()
    found = planned(study, capsys)["needs"]
    assert found["seconds_by_stage"]["fitting"] == 0
    assert found["seconds_by_stage"]["scoring"] == 0
    book = next((results.folder / "scores").glob("memory_bank*"))
    next(book.glob("*.safetensors")).unlink()
    (next((results.folder / "checkpoints").glob("mahalanobis*"))).unlink()
    found = planned(study, capsys)["needs"]
    assert found["seconds_by_stage"]["fitting"] > 0
    assert found["seconds_by_stage"]["scoring"] > 0
    assert found["bytes"] > 0


def test_where_a_few_slices_are_too_few_no_time_is_said(study, capsys, monkeypatch):
    def refuse(*given):
        raise SlicecacheError("memory_bank: no patch of the reference is large enough")

    monkeypatch.setattr("aggregate.anomaly.effort.probe.pace_of", refuse)
    said = planned(study, capsys)
    assert said["needs"] is None
    assert said["plan"][-1] == "no time was measured: memory_bank: no patch of the reference is large enough"


@pytest.mark.parametrize(
    "spec",
    [
        MemoryBankSpec(size=60),
        MemoryBankSpec(bank="all"),
        MemoryBankSpec(bank="kmeans", size=30, sample=100),
        MemoryBankSpec(bank="coreset", size=40, sample=100),
        MemoryBankSpec(shots=2),
        PatchcoreSpec(size=50, sample=120),
    ],
    ids=lambda spec: f"{spec.kind} {getattr(spec, 'bank', '')}",
)
@pytest.mark.parametrize("lengths", [(3, 2), (9, 7)])
def test_a_bank_is_as_large_as_its_detector_says(normal_store, spec, lengths):
    stream = open_stream(normal_store(lengths))
    detector = spec.build(0)
    fit([detector], stream)
    assert detector.growth(sum(lengths)).scoring == len(detector.state()["bank"])


def test_more_slices_never_take_less(normal_store):
    reference = open_stream(normal_store((9, 7))).reference
    for spec in (one for kind in DETECTORS for one in kind.examples()):
        detector = spec.build(0)
        detector.start(reference)
        few, many = detector.growth(4), detector.growth(16)
        for name in Growth.__dataclass_fields__:
            assert getattr(few, name) <= getattr(many, name), (spec.kind, name)


def probed(**changes) -> ProbedStore:
    """A study with round numbers: 100 slices to fit on, 40 to judge epochs by, three fits, one done."""
    pace = Pace(
        epochs=3, first=0.1, later=0.2, held_out=0.5, closing=7.0, scoring=1.0, state_bytes=0, memory_bytes=0
    )
    once = Pace(
        epochs=1, first=0.3, later=0.0, held_out=None, closing=5.0, scoring=2.0, state_bytes=0, memory_bytes=0
    )
    task = SimpleNamespace(baseline=False)
    fits = [
        ProbedFit(task, True, pace, Left(fitted=False, epochs=0, volumes=4, slices=50)),
        ProbedFit(task, True, once, Left(fitted=False, epochs=0, volumes=4, slices=50)),
        ProbedFit(task, False, pace, Left(fitted=True, epochs=2, volumes=1, slices=10)),
    ]
    work = SimpleNamespace(
        truth=SimpleNamespace(known=lambda key: key == "known"),
        part=lambda *names: [SimpleNamespace(key=key) for key in ("known", "known", "unknown")],
    )
    given = {
        "work": work,
        "streams": (SimpleNamespace(n_slices=100), SimpleNamespace(n_slices=40)),
        "sample": SimpleNamespace(first=0.02, again=0.01),
        "fits": fits,
        "after": Aftermath(
            keeping=0.5, looking=0.25, measuring=3.0, intervals=10.0, drawing=1.0, map_bytes=9
        ),
    }
    return ProbedStore(**{**given, **changes})


def test_the_sums():
    store = probed()
    first = 100 * (0.02 + 0.1 + 0.3) + 7 + 5 + 40 * (0.02 + 0.5)
    other = 100 * (0.01 + 0.2) + 7 + 40 * (0.01 + 0.5)
    assert needs.fitting_seconds(store) == pytest.approx(first + 2 * other)
    scores = 50 * (1 + 2) + 10 * 1 + 0.02 * 50 + 9 * 0.5
    assert needs.scoring_seconds(store) == pytest.approx(scores)
    assert needs.measuring_seconds(store) == pytest.approx(2 * 3 + 10 + 2 * 0.25)
    assert [list(fit.due) for fit in store.fits] == [[0, 1, 2], [0], []]


def test_a_sentence_names_what_takes_long():
    found = StudyNeeds({"fitting": 600.0, "scoring": 0.4, "report": 4.0}, bytes=2_000_000, memory_bytes=10**9)
    assert found.sentence() == (
        "estimate from a short probe: 8 min to 13 min (fitting 10 min, report 4 s), 2 MB in the run folder, "
        "1 GB of memory"
    )


@pytest.mark.slow
def test_the_time_is_of_the_right_order(study, capsys):
    """The report's share is a constant; the rest within a factor that load and tiny numbers leave."""
    import time

    torch.set_num_threads(1)
    given = (
        "aggregate.detect.detectors=[{kind: memory_bank}, {kind: dpmm, components: 30, epochs: 5}, "
        "{kind: spatial_ar, epochs: 5, width: 64}]"
    )
    found = planned(study, capsys, given)["needs"]["seconds_by_stage"]
    start = time.perf_counter()
    study.run(study.file, given)
    taken = time.perf_counter() - start
    assert taken / 6 < sum(found.values()) < 6 * taken
    assert load_pipeline(study.file).folder().exists()
