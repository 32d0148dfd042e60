"""Estimates: against figures that were measured, and in the right order where nobody measured."""

from pathlib import Path

import pytest

from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import Entities
from extract.backbones.shape import Outline
from extract.cluster.estimate import Estimate, Load, estimate, finish_needs, parameters, slice_operations
from extract.planning.plan import PlannedVolume
from extract.sources.candidate import Candidate

SMALL, LARGE, GIANT = Outline(384, 6, (16, 16)), Outline(1024, 16, (16, 16)), Outline(1536, 24, (16, 16))


def volumes(count: int, shape=(256, 256, 166), slices=150) -> list[PlannedVolume]:
    entities = Entities(contrast="T1w", run="", acquisition="", space="", description="")
    return [
        PlannedVolume(
            Candidate(VolumeKey(f"sub-{place}", "", "T1w"), Path(f"/x/{place}"), f"{place}", entities),
            shape,
            (1.0, 1.0, 1.0),
            slices,
            None,
        )
        for place in range(count)
    ]


def guess(volumes, sizes, *given, **options) -> Estimate:
    return estimate([Load(volumes, sizes)], *given, **options)


def minutes(text: str) -> int:
    hours, rest, _ = map(int, text.split(":"))
    return 60 * hours + rest


def test_operations_and_weights_are_those_of_the_released_networks():
    assert 11.3e9 <= slice_operations(SMALL) <= 12.4e9
    assert [round(parameters(sizes) / 1e6) for sizes in (SMALL, LARGE, GIANT)] == [21, 302, 1132]


def test_a_small_cohort_is_one_task_of_the_least_time():
    found = guess(volumes(3), SMALL, gpu=True, most_tasks=1001)
    assert (found.tasks, found.time) == (1, "0:15:00")


def test_an_array_never_has_more_tasks_than_allowed_or_than_volumes():
    assert guess(volumes(5_000), GIANT, gpu=False, most_tasks=1001).tasks == 1001
    assert guess(volumes(5), GIANT, gpu=False, most_tasks=1001, tasks=40).tasks == 5
    assert guess(volumes(0), SMALL, gpu=True, most_tasks=1001).tasks == 1


@pytest.mark.parametrize("gpu", [True, False])
def test_more_tasks_are_shorter_ones_and_the_time_covers_the_share(gpu):
    few, many = (guess(volumes(2000), LARGE, gpu, 1001, tasks=count) for count in (4, 40))
    assert minutes(few.time) > minutes(many.time)
    # 2000 x 150 slices of a ViT-L, 162 GFLOP each: at least what a GPU ten times the stated one needs
    assert minutes(few.time) * 60 * 4 > 2000 * 150 * 162e9 / 4e13


def test_a_task_without_a_gpu_asks_for_longer_than_one_with():
    with_gpu, without = (guess(volumes(500), SMALL, gpu, 1001, tasks=10) for gpu in (True, False))
    assert minutes(without.time) > minutes(with_gpu.time)


def test_a_quick_network_gets_more_decoding_cores_than_a_slow_one():
    assert guess(volumes(500), SMALL, True, 1001).cpus > guess(volumes(500), GIANT, True, 1001).cpus >= 2


def test_memory_grows_with_the_largest_volume_and_the_cores():
    def gigabytes(shape, cpus) -> int:
        return int(guess(volumes(9, shape), SMALL, True, 1001, cpus=cpus).memory[:-1])

    assert gigabytes((512, 512, 400), 8) > gigabytes((256, 256, 166), 8)
    assert gigabytes((512, 512, 400), 16) > gigabytes((512, 512, 400), 2)


def test_a_network_that_says_nothing_of_its_sizes_is_taken_for_a_large_one_and_the_script_says_so():
    unknown = guess(volumes(2000), None, True, 1001, tasks=4)
    assert unknown.time == guess(volumes(2000), LARGE, True, 1001, tasks=4).time
    assert "does not say" in unknown.why["time"]


def test_the_last_task_has_time_and_memory_for_what_it_reads():
    volume = 61_000 * 50
    assert finish_needs([(40, 40 * volume)]) == ("4G", "1:00:00")
    assert finish_needs([(40, 0)]) == ("4G", "1:00:00")
    memory, time = finish_needs([(100_000, 100_000 * volume)])
    assert memory == "5G"
    # 305 GB five times at 100 MB/s, and 20 ms a volume, twice for safety
    assert minutes(time) == pytest.approx(2 * (305e9 * 5 / 100e6 + 2000) / 60, abs=5)


def test_several_stores_are_embedded_each_and_decoded_once():
    one, other = volumes(2000), volumes(2000, slices=50)
    alone = [guess(one, LARGE, True, 1001, tasks=10), guess(other, SMALL, True, 1001, tasks=10)]
    both = estimate([Load(one, LARGE), Load(other, SMALL)], True, 1001, tasks=10)
    assert minutes(alone[0].time) < minutes(both.time) <= sum(minutes(each.time) for each in alone)
    assert "400000 slices in 2000 volumes for 2 stores" in both.why["tasks"]
    assert both.cpus <= alone[1].cpus, "nothing is decoded twice"
    needs = finish_needs([(100_000, 10**11), (100_000, 10**11)])
    memory, time = finish_needs([(100_000, 10**11)])
    assert (needs[0], minutes(needs[1])) == (memory, pytest.approx(2 * minutes(time), abs=5))
