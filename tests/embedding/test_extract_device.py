"""Device and dtype, decided from facts about a pretended machine."""

import pytest
import torch

from cache_schema.common.errors import ConfigError, MachineError
from extract.engines.device import (
    Machine,
    choose_device,
    choose_workers,
    require_able,
    this_machine,
    to_device,
)

PLAIN = Machine()
APPLE = Machine(mps=True)
HOPPER = Machine(cuda_capability=(9, 0))
TURING = Machine(cuda_capability=(7, 5))


@pytest.mark.parametrize(
    ("machine", "device"), [(PLAIN, "cpu"), (APPLE, "mps"), (HOPPER, "cuda"), (TURING, "cuda")]
)
def test_auto(machine, device):
    assert choose_device("auto", machine).type == device


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="'cuda'"):
        choose_device("cuda", PLAIN)
    assert choose_device("cpu", HOPPER).type == "cpu"


def test_workers():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    eight = Machine(cpu_count=8)
    assert choose_workers(0, cpu, eight, 100) == 0
    assert choose_workers(3, cpu, eight, 100) == 3
    assert choose_workers(None, cpu, eight, 2) == 0
    assert choose_workers(None, cpu, eight, 5) == 5
    assert choose_workers(None, cpu, eight, 100) == 8
    assert choose_workers(None, cuda, eight, 100) == 7
    assert choose_workers(None, cuda, Machine(cpu_count=1), 100) == 1
    assert choose_workers(None, cuda, Machine(cpu_count=128), 100) == 16


def test_this_machine_can_be_looked_at():
    machine = this_machine()
    assert machine.cpu_count >= 1
    kept = torch.arange(3)
    assert to_device(kept, torch.device("cpu")) is kept


@pytest.mark.parametrize(("begun_on", "there"), [("cpu", HOPPER), ("cuda", HOPPER), ("mps", APPLE)])
def test_auto_goes_on_with_the_kind_of_device_that_the_store_was_begun_on(begun_on, there):
    assert choose_device("auto", there, begun_on).type == begun_on


@pytest.mark.parametrize("begun_on", ["cuda", "mps", "something"])
def test_nobody_falls_back_in_silence(begun_on):
    with pytest.raises(MachineError, match=f"begun on {begun_on}.*extract.device: cpu"):
        choose_device("auto", PLAIN, begun_on)
    assert choose_device("cpu", PLAIN, begun_on).type == "cpu"


def test_a_gpu_without_bfloat16_does_not_imitate_it():
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    with pytest.raises(MachineError, match=r"\(7, 5\)"):
        require_able("bfloat16", cuda, TURING)
    require_able("float32", cuda, TURING)
    require_able("bfloat16", cuda, HOPPER)
    require_able("bfloat16", cpu, PLAIN)
