"""A run that is killed goes on to the same files, and nothing is done twice."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from scored_files import files_of

from aggregate.anomaly.detectors.memory_bank import MemoryBank
from aggregate.anomaly.scoring.execute import reader
from aggregate.anomaly.scoring.finished import ScoreBook
from aggregate.detect import detect_pipeline, detect_plan
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.pipeline_file import load_pipeline


class Killed(BaseException):
    pass


@pytest.mark.numerics
@pytest.mark.parametrize("where", ["fit", "score", "maps"])
def test_a_killed_run_goes_on_to_the_same_files(study, tmp_path, monkeypatch, where):
    study.detect("run.folder=whole")
    calls = {"n": 0}

    def dying(original: Callable[..., Any], at: int) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            calls["n"] += 1
            if calls["n"] == at:
                raise Killed
            return original(*args, **kwargs)

        return called

    with monkeypatch.context() as patch:
        if where == "fit":
            patch.setattr(MemoryBank, "observe", dying(MemoryBank.observe, 2))
        elif where == "score":
            patch.setattr(ScoreBook, "write", dying(ScoreBook.write, 14))
        else:
            import aggregate.anomaly.study.detect as module

            patch.setattr(module, "write_map_once", dying(module.write_map_once, 3))
        with pytest.raises(Killed):
            study.detect()
    assert not (tmp_path / "run" / "detect" / "metrics.json").exists()
    results = study.detect()
    assert files_of(tmp_path / "run" / "detect") == files_of(tmp_path / "whole" / "detect")
    # 8 volumes are scored by 4 detectors; the kill came at the 14th of their 32 files.
    assert results.n_scored == {"fit": 8, "score": 5, "maps": 0}[where]


def test_nothing_is_scored_or_drawn_twice(study, tmp_path, monkeypatch):
    study.detect()
    maps = {
        path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "detect" / "maps").rglob("*.nii.gz")
    }

    def refuse(*args: Any) -> Any:
        raise AssertionError("scored again")

    monkeypatch.setattr(MemoryBank, "score", refuse)
    study.detect()
    assert {path: path.stat().st_mtime_ns for path in maps} == maps


def test_another_fit_is_scored_anew_and_a_damaged_score_too(study, tmp_path):
    study.detect()
    held = sorted((tmp_path / "run" / "detect" / "scores").glob("memory_bank*/*.safetensors"))
    held[0].write_bytes(held[0].read_bytes()[:-3])
    assert study.detect().n_scored == 1
    other = study.detect("aggregate.detect.split.seed=1")
    fresh = study.detect("aggregate.detect.split.seed=1", "run.folder=fresh")
    pd.testing.assert_frame_equal(other.scores, fresh.scores)


def test_scores_gone_during_a_run_are_named(study):
    loaded = load_pipeline(study.file)
    detect_pipeline(loaded)
    (work,) = detect_plan(loaded).works
    folder = next((loaded.folder() / "detect" / "scores").glob("memory_bank*"))
    read = reader(work, ScoreBook(folder))
    member = work.part("other")[0]
    assert isinstance(read(member)[0].seconds, float)
    for path in folder.glob("*.safetensors"):
        path.unlink()
    with pytest.raises(SlicecacheError, match="are gone"):
        read(member)
