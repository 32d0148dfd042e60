"""Where heads train: on the CPU, or on a GPU where one is asked for.

Labels, folds, starts and what a training leaves stay on the CPU: what moves to a GPU are the bags of a group
of runs, their weights and everything that is made of them step by step. The numbers are the CPU's to
rounding, not to the bit.
"""

import re
from typing import Annotated

import torch
from pydantic import AfterValidator

from cache_schema.common.errors import ConfigError, MachineError

CPU = torch.device("cpu")


def _read(value: str) -> str:
    """A device's name, as it was written."""
    if value not in ("auto", "cpu", "cuda") and re.fullmatch(r"cuda:[0-9]{1,3}", value) is None:
        raise ValueError(f"is {value!r}; say auto, cpu, cuda or, with several GPUs, cuda:0, cuda:1, ...")
    return value


DeviceName = Annotated[str, AfterValidator(_read)]


def gpus() -> int:
    """GPUs that torch sees."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def settled_device(asked: str, said_by: str = "train.device") -> str:
    """The device itself where `auto` is asked for: a GPU where torch sees one, else the CPU.

    Raises:
        ConfigError: If a GPU is asked for that is not here.
    """
    there = gpus()
    if asked == "auto":
        return "cuda" if there else "cpu"
    number = int(asked.partition(":")[2] or 0)
    if asked != "cpu" and number >= there:
        raise ConfigError(
            f"{said_by} says {asked!r}, but torch {torch.__version__} sees {there or 'no'} GPU here; set "
            "train.device: cpu (in another run folder, if this one was begun on a GPU), or install torch's "
            "build for the GPU of this machine"
        )
    return asked


def device_of(asked: str) -> torch.device:
    """As torch has it; a `cuda` without a number is the first.

    Raises:
        ConfigError: As `settled_device`.
    """
    name = settled_device(asked)
    return torch.device("cuda:0" if name == "cuda" else name)


def workers_on(device: torch.device) -> int:
    """Blocks that train side by side: one per core; a GPU is shared by none."""
    return torch.get_num_threads() if device.type == "cpu" else 1


def short_of_memory(device: torch.device, what: str) -> MachineError:
    """What is said where halving does not help."""
    return MachineError(
        f"the memory of {device} is too small for {what}; set train.device: cpu, or take a GPU with more"
    )
