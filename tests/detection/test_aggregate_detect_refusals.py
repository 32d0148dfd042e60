"""What detection refuses, in a sentence."""

import sys

import pytest

import slicecache as conductor
from aggregate.anomaly.detectors.base import Detector
from aggregate.anomaly.detectors.memory_bank import MemoryBank
from cache_schema.common.errors import ConfigError, SlicecacheError
from cache_schema.common.pipeline_file import load_pipeline
from cache_schema.format.record import Entities, UsedForeground


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"entities": Entities(contrast="T2w")}, "contrast T2w: p010/T1w"),
        (
            {"foreground": UsedForeground(kind="stripped", millilitres=1400.0)},
            "foreground stripped: p010/T1w",
        ),
    ],
)
def test_a_volume_unlike_the_reference_is_refused_unless_allowed(
    study, normal_store, tmp_path, change, words
):
    normal_store(
        study.lengths,
        change=study.odd,
        name="unlike.zarr",
        record=lambda place: change if place == 10 else {},
    )
    with pytest.raises(SlicecacheError, match=words) as refusal:
        study.detect("cache.store=unlike.zarr")
    assert "allow_unlike_reference: true" in str(refusal.value)
    assert not (tmp_path / "run").exists()
    allowed = ["cache.store=unlike.zarr", "aggregate.detect.allow_unlike_reference=true"]
    results = study.detect(*allowed)
    assert any(words in warning for warning in results.warnings)
    assert words in (tmp_path / "run" / "detect" / "report.html").read_text()


def test_two_detectors_of_one_name_are_refused(study, tmp_path):
    file = study.write(detectors=[study.detectors[0], study.detectors[0]])
    with pytest.raises(ConfigError, match="two detectors are called 'memory_bank'"):
        study.run(file)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("aggregate.detect.reference.valeu=control", "did you mean 'value'"),
        ("aggregate.detect.reference.value=controls", "there are control, patient"),
        ("aggregate.detect.reference.column=diagnosys", "did you mean 'diagnosis'"),
        ("aggregate.detect.truth={column: lesion}", "did you mean 'lesion_mask'"),
        ("aggregate.detect.detectors=[]", "detectors names none"),
        ("aggregate.detect.split={fit: 0.5, calibration: 0.2, test: 0.2}", "must add up to 1"),
        ("aggregate.detect.map=all", "did you mean 'maps'"),
        ("aggregate.detect=null", "aggregate.detect is missing"),
        ("cache.store=nowhere.zarr", "there is no store"),
    ],
)
def test_mistakes_are_one_sentence_with_exit_code_2(study, override, words, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["slicecache"])
    assert conductor.guarded(conductor.cli.main, ["detect", str(study.file), "--set", override]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert "Traceback" not in err


def test_too_few_normals_are_refused(study, tmp_path):
    table = tmp_path / "participants.tsv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], lines[1], lines[2], *lines[9:]]) + "\n")
    with pytest.raises(SlicecacheError, match="has 2 participant"):
        study.detect()


def test_training_takes_no_notice_of_detect(study):
    with pytest.raises(ConfigError, match=r"aggregate\.target is missing"):
        conductor.imported("aggregate.cli:read_training_section")(load_pipeline(study.file))
    section = conductor.imported("aggregate.cli:read_training_section")(
        load_pipeline(study.file, ["aggregate.target=diagnosis"])
    )
    assert section.detect is not None
    assert issubclass(MemoryBank, Detector)
