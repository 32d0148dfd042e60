"""A slice of the fuzzing for every parser; `benchmarks/fuzz.py` does as many as one likes."""

import time
from pathlib import Path

import pytest

from fuzz.run import make_case, seeds_of, try_case
from fuzz.target import Target, all_targets

# nibabel leaves a refused .mgh open until it is collected.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
TARGETS = list(all_targets().values())
A_SLICE = 40
MINUTE_S = 60.0


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_what_is_valid_is_accepted(target: Target, tmp_path: Path):
    for seed in seeds_of(target):
        outcome = try_case(target, seed, tmp_path / "case")
        assert outcome.verdict == "accepted", outcome


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_what_is_spoiled_is_accepted_or_refused_in_a_sentence(target: Target, tmp_path: Path):
    spoiled = 0
    for number in range(A_SLICE):
        case = make_case(target, 0, number)
        outcome = try_case(target, case, tmp_path / "case")
        assert outcome.verdict != "fault", f"case ({target.name!r}, 0, {number}): {outcome}"
        spoiled += case not in seeds_of(target)
    assert spoiled > A_SLICE / 2


def test_a_case_is_the_same_again():
    for target in TARGETS:
        assert make_case(target, 3, 14) == make_case(target, 3, 14)


@pytest.mark.slow
def test_a_minute_of_it(tmp_path: Path):
    share = MINUTE_S / len(TARGETS)
    for target in TARGETS:
        end, number = time.monotonic() + share, 0
        while time.monotonic() < end:
            outcome = try_case(target, make_case(target, 1, number), tmp_path / "case")
            assert outcome.verdict != "fault", f"case ({target.name!r}, 1, {number}): {outcome}"
            number += 1
