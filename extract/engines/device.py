"""Where the backbone runs and in which dtype; decided from facts, so that it is testable without a GPU."""

import os
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cache_schema.cluster.cores import usable_cores
from cache_schema.common.errors import ConfigError, MachineError
from cache_schema.workers.heart import Worker
from extract.arithmetic.processor import processor_name
from extract.engines.decode import MOST_WORKERS

DeviceName = Literal["auto", "cpu", "cuda", "mps"]

VISIBLE = "CUDA_VISIBLE_DEVICES"
ASYNCHRONOUS = ("cuda",)
"""Kinds of device that work while this process goes on."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides: the accelerators that torch sees, and the cores."""

    cuda_capability: tuple[int, int] | None = None
    """Of the first GPU; none when there is no GPU."""
    mps: bool = False
    cpu_count: int = 1
    """Cores that this process may use."""


def this_machine() -> Machine:
    """Look at the machine that we run on."""
    capability = torch.cuda.get_device_capability() if torch.cuda.is_available() else None
    return Machine(capability, torch.backends.mps.is_available(), usable_cores())


def choose_device(asked: DeviceName, machine: Machine, begun_on: str | None = None) -> torch.device:
    """For `auto` the kind of device that a store was begun on, else CUDA before MPS before CPU.

    Args:
        asked: From the pipeline file.
        machine: What is there.
        begun_on: Kind of device on which the store's first volume was embedded, if one was.

    Raises:
        ConfigError: If the device that was asked for is not there.
        MachineError: If the one that the store was begun on is not: nobody falls back in silence.
    """
    there = devices(machine)
    if asked == "auto" and begun_on is not None:
        if begun_on not in there:
            raise MachineError(
                f"the store was begun on {begun_on}, and torch sees no such device here: repair that, or say "
                "extract.device: cpu to go on here all the same (numbers are equal to rounding then)"
            )
        return torch.device(begun_on)
    if asked == "auto":
        return torch.device(there[0])
    if asked not in there:
        raise ConfigError(f"extract.device is {asked!r}, but torch sees no such device here; use auto or cpu")
    return torch.device(asked)


def devices(machine: Machine) -> tuple[str, ...]:
    """Kinds of device that torch sees, the preferred one first."""
    there = {"cuda": machine.cuda_capability is not None, "mps": machine.mps, "cpu": True}
    return tuple(name for name, present in there.items() if present)


def visible_gpus() -> tuple[str, ...]:
    """The GPUs that torch sees, as `CUDA_VISIBLE_DEVICES` names them."""
    count, named = torch.cuda.device_count(), os.environ.get(VISIBLE, "")
    return tuple(named.split(",")[:count]) if named else tuple(map(str, range(count)))


def gpus_to_divide(asked: int | None, device: torch.device) -> tuple[str, ...]:
    """Those that get a process each; none where this process does it all.

    Args:
        asked: As many as this, at most; all by default.
        device: That was chosen.

    Raises:
        ConfigError: If more are asked for than there are.
    """
    there = visible_gpus() if device.type == "cuda" else ()
    if asked is not None and asked > max(1, len(there)):
        raise ConfigError(
            f"extract.gpus is {asked}, but there are {len(there)} GPUs to embed on; leave it out for all"
        )
    return there[:asked] if len(there[:asked]) > 1 else ()


def imitates_bfloat16(device: torch.device, machine: Machine) -> bool:
    """Whether it is a GPU from before CUDA capability 8.0, which has none in hardware."""
    capability = machine.cuda_capability
    return device.type == "cuda" and (capability is None or capability < (8, 0))


def require_able(compute: str, device: torch.device, machine: Machine) -> None:
    """Refuse a device that cannot compute as the store is embedded; one that is only slow obeys.

    Raises:
        MachineError: For bfloat16 on a GPU that has none and would imitate it.
    """
    if compute == "bfloat16" and imitates_bfloat16(device, machine):
        raise MachineError(
            f"the store is embedded in bfloat16, which this GPU (CUDA capability {machine.cuda_capability}) "
            "does not have: take another, or say extract.dtype: float32 and give this extraction a store of "
            "its own"
        )


def is_asynchronous(device: torch.device) -> bool:
    """Whether it works while this process goes on; then copies from and to pinned memory wait for nothing."""
    return device.type in ASYNCHRONOUS


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy to the device; on CUDA from pinned memory without waiting."""
    if not is_asynchronous(device):
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def device_name(device: torch.device) -> str:
    """The device in words, for provenance."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def worker_of(device: torch.device, compute_dtype: str, volumes: int, shard: str = "") -> Worker:
    """Who embeds here, for heartbeats."""
    processor = processor_name()
    name = processor if device.type == "cpu" else device_name(device)
    return Worker(device.type, name, compute_dtype, processor, shard, volumes)


def choose_workers(
    asked: int | None, device: torch.device, machine: Machine, volumes: int, beside: int = 1
) -> int:
    """Decoding processes: as many as there are cores, one less beside a GPU, whose feeding needs one.

    On a CPU they yield to the backbone (see `decode.NICENESS`), so that many of them do no harm; for one
    or two volumes a process takes longer to start than it saves. `beside` processes with a device each
    share cores, and the number that was asked for.
    """
    if asked is not None:
        return -(-asked // beside)
    if volumes <= 2:
        return 0
    cores = machine.cpu_count // beside - (device.type != "cpu")
    return max(1, min(cores, MOST_WORKERS, volumes))
