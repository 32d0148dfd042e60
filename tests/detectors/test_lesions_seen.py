"""What a store's slices see of lesions, counted by hand; `detect --plan` says it."""

import json
import sys
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
from made_up_store import example_draft, example_key

import slicecache as conductor
from aggregate.anomaly.measure.truth import LesionTruth
from aggregate.anomaly.reference.group import StudyVolume
from aggregate.anomaly.reference.visible import LesionsSeen, lesions_seen
from cache_schema.format.record import VolumeRecord


@pytest.fixture
def masked(tmp_path):
    """One volume of ten slices, of which 2 to 7 are kept and columns from 56 on are off the canvas."""

    def make(number: int, *boxes: tuple[slice, slice, slice]) -> tuple[StudyVolume, LesionTruth]:
        draft = example_draft(key := example_key(number), 6)
        geometry = draft.geometry.model_copy(update={"canvas": (70, 56), "spacing_mm": (1.0, 1.0, 1.0)})
        draft = draft.model_copy(update={"geometry": geometry})
        record = VolumeRecord(**draft.model_dump(), row=0, tokens={}, digest="0" * 64)
        values = np.zeros((60, 70, 10), np.uint8)
        for box in boxes:
            values[box] = 1
        image = nibabel.Nifti1Image(values, np.eye(4))
        image.set_sform(np.eye(4), code=1)
        nibabel.save(image, path := tmp_path / f"{number}.nii.gz")
        return StudyVolume(SimpleNamespace(key=key), record, "other", False), LesionTruth({key: path})

    return make


def test_voxels_and_lesions_are_counted(masked):
    through = (slice(3, 5), slice(10, 12), slice(0, 4))  # 4 voxels a slice, on slices 2 and 3 of 0 to 3
    below = (slice(20, 21), slice(20, 23), slice(9, 10))  # 3 voxels on a slice that is not kept
    off = (slice(30, 31), slice(54, 58), slice(5, 6))  # 2 of 4 voxels off the canvas
    member, truth = masked(1, through, below, off)
    found = lesions_seen([member], truth, (5, 4))
    assert found == LesionsSeen(volumes=1, voxels=23, between=11, beside=2, lesions=3, unseen=1)
    assert found.share == 10 / 23
    assert "see 43% of the lesion voxels of 1 volume(s): 48% lie on slices" in found.sentence()
    assert "8.7% off the canvas; of 3 lesion(s) 1 are not seen" in found.sentence()


def test_volumes_add_up_and_empty_masks_say_so(masked):
    one, first = masked(1, (slice(0, 2), slice(0, 2), slice(3, 4)))
    other, second = masked(2)
    both = LesionTruth({**first.masks, **second.masks})
    assert lesions_seen([one, other], both, (5, 4)) == lesions_seen([one], first, (5, 4))
    assert lesions_seen([one, other], first, (5, 4)).volumes == 1  # nothing is known of the other
    empty = lesions_seen([other], second, (5, 4))
    assert empty.share is None
    assert "no lesion" in empty.sentence()


def test_the_plan_says_it(study, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["slicecache", "detect"])
    assert conductor.guarded(conductor.cli.main, ["detect", str(study.file), "--plan", "--json"]) == 0
    (seen,) = json.loads(capsys.readouterr().out)["lesions_seen"].values()
    assert (seen["volumes"], seen["share"], seen["unseen"]) == (4, 1.0, 0)
    (study.folder / "masks").rename(study.folder / "gone")
    (study.folder / "masks").mkdir()
    for path in (study.folder / "gone").iterdir():
        image = nibabel.load(path)
        values = np.asarray(image.dataobj)
        values[:, :, 0] = values[:, :, 5]  # a third more, on a slice that is not kept
        nibabel.save(
            nibabel.Nifti1Image(values, image.affine, image.header), study.folder / "masks" / path.name
        )
    assert conductor.guarded(conductor.cli.main, ["detect", str(study.file), "--plan"]) == 0
    assert "see 67% of the lesion voxels of 4 volume(s): 33% lie on slices" in capsys.readouterr().out
