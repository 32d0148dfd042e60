"""A combined score is its parts' scores on one scale: each part as it is alone, the scale of normals only."""

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from aggregate.anomaly.arithmetic.scales.height_scale import fit_heights
from aggregate.anomaly.arithmetic.scales.part_scale import SHRINKAGE
from aggregate.anomaly.detectors.combined import CombinedSpec
from aggregate.anomaly.detectors.dino_ad import OURS
from aggregate.anomaly.detectors.dpmm import DpmmSpec
from aggregate.anomaly.detectors.intensity import IntensityBaselineSpec
from aggregate.anomaly.detectors.mahalanobis import MahalanobisSpec
from aggregate.anomaly.detectors.memory_bank import MemoryBankSpec
from aggregate.anomaly.detectors.registry import DetectorSpec, NewDetector
from aggregate.anomaly.detectors.symmetry import SymmetrySpec
from aggregate.testing.slices import (
    all_equal,
    fit_slices,
    fitted_to,
    normal_slices,
    planted,
    started,
)
from cache_schema.common.errors import SlicecacheError

pytestmark = pytest.mark.numerics

NORMAL, HELD_OUT = normal_slices([9, 7, 11, 4]), normal_slices([6, 5], first=30)
QUERIES = planted(normal_slices([9, 5], first=50))
PARTS = (MahalanobisSpec(), SymmetrySpec(), IntensityBaselineSpec())


def fitted(**options):
    return fitted_to(CombinedSpec(**options), 0, NORMAL, HELD_OUT)


def test_parts_are_fitted_as_they_would_be_alone():
    few = {"components": 12, "epochs": 3}
    parts = (DpmmSpec(**few), MemoryBankSpec(size=200), MahalanobisSpec())
    combined = fitted(parts=parts)
    for spec, part in zip(parts, combined.parts, strict=True):
        alone = fitted_to(spec, 0, NORMAL, HELD_OUT)
        for name, value in alone.state().items():
            torch.testing.assert_close(
                part.state()[name], value, msg=lambda said, name=name: f"{name}: {said}"
            )


@pytest.mark.parametrize("per_height", [True, False])
@pytest.mark.parametrize("reduce", ["mean", "max", "covariance"])
def test_the_rules_are_those_that_are_written(reduce, per_height):
    combined = fitted(parts=PARTS, reduce=reduce, per_height=per_height)
    inside = HELD_OUT.foreground > 0
    height = HELD_OUT.height_mm[:, None, None].expand(inside.shape)
    z, normal = [], []
    for spec in PARTS:
        part = fitted_to(spec, 0, NORMAL, HELD_OUT)
        known, asked = part.score(HELD_OUT).double(), part.score(QUERIES).double()
        if per_height:
            scale = fit_heights(known[inside], height[inside])
            known, asked = scale.apply(known, HELD_OUT.height_mm), scale.apply(asked, QUERIES.height_mm)
        else:
            mean, sd = known[inside].mean(), known[inside].std(correction=0)
            known, asked = (known - mean) / sd, (asked - mean) / sd
        z.append(asked)
        normal.append(known[inside])
    weights = torch.full((3,), 1 / 3, dtype=torch.float64)
    if reduce == "covariance":
        c = (1 - SHRINKAGE) * torch.corrcoef(torch.stack(normal)) + SHRINKAGE * torch.eye(3).double()
        weights = torch.linalg.solve(c, torch.ones(3).double()).clamp_min(0)
        weights = weights / weights.sum()
    wanted = (
        torch.stack(z).amax(0) if reduce == "max" else sum(w * s for w, s in zip(weights, z, strict=True))
    )
    torch.testing.assert_close(combined.score(QUERIES).double(), wanted, rtol=1e-4, atol=1e-4)


def test_a_part_twice_shares_its_vote():
    twice = fitted(parts=(MahalanobisSpec(), MahalanobisSpec(), IntensityBaselineSpec()), reduce="covariance")
    one, two, other = twice.state()["weights"].tolist()
    assert one == pytest.approx(two)
    once = fitted(parts=(MahalanobisSpec(), IntensityBaselineSpec()), reduce="covariance")
    assert one + two == pytest.approx(once.state()["weights"][0].item(), abs=0.05)
    assert other == pytest.approx(once.state()["weights"][1].item(), abs=0.05)


def test_a_part_that_is_the_same_of_all_normals_has_no_vote():
    flat = all_equal(NORMAL), all_equal(HELD_OUT)
    detector = fitted_to(CombinedSpec(parts=PARTS, reduce="covariance"), 0, *flat)
    assert detector.state()["weights"].sum() == 0
    assert detector.score(QUERIES).abs().max() == 0


def test_without_calibration_normals_there_is_no_scale():
    detector = started(CombinedSpec(parts=PARTS), 0, NORMAL)
    detector.observe(NORMAL, 0)
    assert not detector.end_epoch(0, None)
    detector.observe(NORMAL, 1)
    with pytest.raises(SlicecacheError, match="normals outside the fit"):
        detector.end_epoch(1, None)


def test_lesions_have_no_say_in_the_scale():
    """The state follows from fit and calibration slices; scoring leaves it alone."""
    detector = fitted(parts=PARTS)
    before = {name: value.clone() for name, value in detector.state().items()}
    detector.score(QUERIES)
    assert all(torch.equal(before[name], value) for name, value in detector.state().items())


def test_a_parts_state_of_another_kind_is_refused_by_number():
    detector = fitted(parts=PARTS)
    state = detector.state()
    wrong = {**state, "part1/mean": torch.zeros(3)}
    with pytest.raises(SlicecacheError, match=r"part 2: .*differs in mean"):
        started(detector.spec, 0, NORMAL).load_state(wrong)
    with pytest.raises(SlicecacheError, match="differs in part7/mean"):
        started(detector.spec, 0, NORMAL).load_state({**state, "part7/mean": torch.zeros(3)})


def test_parts_of_a_new_run_mean_what_they_mean_alone():
    adapter = TypeAdapter(NewDetector)
    part = {"kind": "dpmm", "init": "paper"}
    alone = adapter.validate_python(part)
    assert adapter.validate_python({"kind": "combined", "parts": [part]}).parts == (alone,)
    with pytest.raises(ValidationError, match="beside parts"):
        adapter.validate_python({"kind": "combined", "parts": [{**part, "store": "x.zarr"}]})
    with pytest.raises(ValidationError, match="leave out views"):
        adapter.validate_python({"kind": "combined", "parts": [{"kind": "memory_bank", "bank": "cohort"}]})
    with pytest.raises(ValidationError, match="combined"):
        adapter.validate_python({"kind": "combined", "parts": [{"kind": "combined"}]})


def test_curves_name_their_part():
    detector = fitted(parts=(MahalanobisSpec(), DpmmSpec(components=12, epochs=2)))
    assert "part 2 (dpmm): held_out_loss" in detector.curves()


def test_a_fit_stopped_before_the_last_pass_goes_on_to_the_same_bits():
    spec = CombinedSpec(parts=(MahalanobisSpec(), DpmmSpec(components=12, epochs=2)))
    whole = fitted_to(spec, 0, NORMAL, HELD_OUT)
    stopped = started(spec, 0, NORMAL)
    steps = fit_slices(stopped, NORMAL, HELD_OUT)
    for _ in range(spec.build(0).epochs - 1):
        next(steps)
    again = started(spec, 0, NORMAL)
    again.load_state(stopped.state())
    for _ in fit_slices(again, NORMAL, HELD_OUT, first=again.epochs - 1):
        pass
    assert torch.equal(again.score(QUERIES), whole.score(QUERIES))


def test_a_pipeline_that_says_dino_ad_means_ours_and_a_bundle_what_it_meant():
    adapter, stored = TypeAdapter(NewDetector), TypeAdapter(DetectorSpec)
    asked = adapter.validate_python({"kind": "dino_ad"})
    assert (asked.clusters, asked.supports) == (OURS["clusters"], OURS["supports"])
    for spec in (
        adapter.validate_python({"kind": "dino_ad", "preset": "as_read"}),
        stored.validate_python({"kind": "dino_ad"}),
    ):
        assert (spec.clusters, spec.supports) == (2, 1)
    assert adapter.validate_python({"kind": "dino_ad", "supports": 7}).supports == 7
    assert stored.validate_python(asked.model_dump(mode="json")) == asked
