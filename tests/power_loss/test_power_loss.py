"""What a command promised survives a failure of the power at any place; every wait for the disk is needed."""

import random

import pytest
from power_loss import simulate
from power_loss.recording import why_not

FAILURES = 24

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> simulate.Recording:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    return simulate.make_recording(tmp_path_factory.mktemp("power"))


def test_nothing_promised_is_lost_and_the_rest_is_repaired(made):
    rng, promised = random.Random(0), 0
    for number in range(FAILURES):
        volumes, faults = simulate.one_failure(made, rng)
        assert (number, faults) == (number, [])
        promised += len(volumes)
    assert promised > 2 * FAILURES  # else the failures came before anything was promised


def test_with_any_one_wait_taken_out_something_is_lost(made):
    rng, places = random.Random(1), simulate.sync_places(made)
    assert len(places) > 30
    needed = {what: where for what, where in places.items() if not simulate.needless(what)}
    assert [what for what, where in needed.items() if not simulate.loss_without(made, where, rng)] == []
    assert {
        "writing: chunks",
        "writing: names of chunks",
        "writing: records",
        "writing: names of records",
    } < set(needed)
    assert {"writing: table", "writing: names in table", "creation: header.json", "the store's name"} < set(
        needed
    )
