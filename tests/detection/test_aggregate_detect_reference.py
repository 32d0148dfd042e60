"""Who the normals are and what masks say: neither has a say in what the other decides."""

from typing import Any

import pandas as pd
import pytest

from aggregate.anomaly.fitting.normalise import calibrate_detector
from aggregate.anomaly.scoring.execute import reference_stream
from aggregate.anomaly.study.bundle import load_detectors
from aggregate.detect import detect_pipeline, detect_plan
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.pipeline_file import load_pipeline


def thresholds(results: Any) -> Any:
    return results.metrics["thresholds"]


def test_without_masks_nothing_is_claimed_of_voxels(study, tmp_path):
    results = study.detect("aggregate.detect.truth=none")
    assert results.detectors["pixel_auroc"].isna().all()
    assert results.detectors["slice_auroc"].isna().all()
    assert results.detectors["volume_auroc"].notna().all()
    assert "nothing is known about how well lesions are found in voxels" in results.verdict[0]
    assert "nothing is known" in (tmp_path / "run" / "detect" / "report.html").read_text()


def test_without_masks_and_labels_that_is_said_too(study, tmp_path):
    table = tmp_path / "participants.tsv"
    table.write_text(table.read_text().replace("patient\t", "n/a\t"))
    results = study.detect("aggregate.detect.truth=none")
    assert results.detectors["volume_auroc"].isna().all()
    assert "nothing at all is known about accuracy" in " ".join(results.verdict)


def test_masks_are_found_by_bids_names(study, tmp_path):
    root = tmp_path / "bids"
    for place in study.sick:
        study.mask(
            root / "derivatives" / "x" / f"sub-p{place:03d}" / "anat" / "label-lesion_mask.nii.gz",
            study.lengths[place],
        )
    by_name = study.detect(f"aggregate.detect.truth={{bids: {root}}}", "run.folder=other")
    by_column = study.detect()
    pd.testing.assert_frame_equal(
        by_name.detectors.drop(columns="ms_per_slice"), by_column.detectors.drop(columns="ms_per_slice")
    )
    (tmp_path / "empty").mkdir()
    with pytest.raises(SlicecacheError, match="no volume has a lesion mask"):
        study.detect(f"aggregate.detect.truth={{bids: {tmp_path / 'empty'}}}")


def test_truth_and_the_others_have_no_say_in_thresholds(study, normal_store, tmp_path):
    honest = study.detect()
    for place in study.sick:
        study.mask(tmp_path / "masks" / f"p{place:03d}.nii.gz", study.lengths[place], shift=-20)
    poisoned = study.detect("run.folder=poisoned")
    assert thresholds(poisoned) == thresholds(honest)
    before, after = honest.detectors["pixel_auroc"], poisoned.detectors["pixel_auroc"]
    assert (before != after).any()

    def worse(arrays: dict[str, Any], place: int) -> None:
        study.odd(arrays, place)
        if place in study.sick:
            arrays["patches"] *= 3

    normal_store(study.lengths, change=worse, name="worse.zarr")
    file = study.write("worse.yaml", "worse")
    assert thresholds(study.run(file, "cache.store=worse.zarr")) == thresholds(honest)


@pytest.mark.parametrize("per_height", [False, True])
def test_thresholds_are_those_of_a_read_of_their_own(study, per_height, tmp_path):
    loaded = load_pipeline(study.file, [f"aggregate.detect.per_height={str(per_height).lower()}"])
    detect_pipeline(loaded)
    (work,) = detect_plan(loaded).works
    stream = reference_stream(work, "calibration", 2**24)
    for fitted in load_detectors(tmp_path / "run" / "detect" / "bundle").fitted:
        alone = calibrate_detector(fitted.detector, stream, per_height=per_height)
        assert fitted.calibration.n_tokens == alone.n_tokens
        for rate, threshold in alone.thresholds.items():
            assert fitted.calibration.thresholds[rate] == pytest.approx(threshold, rel=1e-5, abs=1e-6)


def test_baselines_are_not_standardised_by_height(study):
    plain = study.detect().detectors.set_index("detector")["pixel_auroc"]
    scaled = study.detect("aggregate.detect.per_height=true").detectors.set_index("detector")["pixel_auroc"]
    for name in ("position", "intensity"):
        assert list(plain[name]) == list(scaled[name])
    assert list(plain["mahalanobis"]) != list(scaled["mahalanobis"])


def test_lesion_free_slices_may_be_the_reference(study, tmp_path):
    table = tmp_path / "participants.tsv"
    lines = table.read_text().splitlines()
    for place in range(8):
        study.mask(tmp_path / "masks" / f"p{place:03d}.nii.gz", study.lengths[place])
        lines[1 + place] = f"sub-p{place:03d}\tcontrol\tmasks/p{place:03d}.nii.gz"
    table.write_text("\n".join(lines) + "\n")
    loaded = load_pipeline(study.file, ["aggregate.detect.reference={slices: lesion_free}"])
    (work,) = detect_plan(loaded).works
    for member in work.part("fit", "calibration"):
        assert member.slices == tuple(place for place in range(member.entry.n_slices) if place not in (3, 4))
    results = detect_pipeline(loaded)
    assert results.detectors["slice_auroc"].notna().all()
    with pytest.raises(SlicecacheError, match="needs lesion masks"):
        study.detect("aggregate.detect.reference={slices: lesion_free}", "aggregate.detect.truth=none")


def test_normals_with_a_lesion_are_warned_of(study, tmp_path):
    table = tmp_path / "participants.tsv"
    text = table.read_text()
    for place in range(8):
        study.mask(tmp_path / "masks" / f"p{place:03d}.nii.gz", study.lengths[place])
        text = text.replace(
            f"sub-p{place:03d}\tcontrol\tn/a", f"sub-p{place:03d}\tcontrol\tmasks/p{place:03d}.nii.gz"
        )
    table.write_text(text)
    warnings = detect_plan(load_pipeline(study.file)).warnings
    assert any("6 volume(s) of the reference group have a lesion in their mask" in one for one in warnings)
