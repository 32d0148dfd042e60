"""Where the backbone runs and in which dtype; decided from facts, so that it is testable without a GPU."""

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from cache_schema.cluster.cores import usable_cores
from cache_schema.common.errors import ConfigError, MachineError
from cache_schema.workers.heart import Worker

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
ComputeName = Literal["float32", "bfloat16"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
MOST_WORKERS = 16
CPU_BFLOAT16 = ("amx_bf16",)
"""CPU flags with which bfloat16 products are faster than float32 ones. `avx512_bf16` alone is no such flag:
a ViT-S embeds 0.6 times as many slices per second with it (torch 2.13)."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides: the accelerators that torch sees and the CPU's flags."""

    cuda_capability: tuple[int, int] | None = None
    """Of the first GPU; none when there is no GPU."""
    mps: bool = False
    cpu_flags: frozenset[str] = frozenset()
    cpu_count: int = 1
    """Cores that this process may use."""


def this_machine() -> Machine:
    """Look at the machine that we run on."""
    capability = torch.cuda.get_device_capability() if torch.cuda.is_available() else None
    return Machine(capability, torch.backends.mps.is_available(), read_cpu_flags(), usable_cores())


def read_cpu_flags(path: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The flags of the first CPU on Linux; empty elsewhere, which means float32."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    line = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return frozenset(line.partition(":")[2].split())


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


def choose_dtype(
    asked: Literal["auto", "float32", "bfloat16"],
    device: torch.device,
    machine: Machine,
    existing: str | None,
) -> ComputeName:
    """The compute dtype; for `auto` an existing store decides, and then what the device has fast.

    Args:
        asked: From the pipeline file.
        device: Where it runs.
        machine: What is there.
        existing: Compute dtype of the store's header, if there is a store.
    """
    if asked != "auto":
        return asked
    if existing in DTYPES:
        return "float32" if existing == "float32" else "bfloat16"
    return "bfloat16" if fast_bfloat16(device, machine) else "float32"


def devices(machine: Machine) -> tuple[str, ...]:
    """Kinds of device that torch sees, the preferred one first."""
    there = {"cuda": machine.cuda_capability is not None, "mps": machine.mps, "cpu": True}
    return tuple(name for name, present in there.items() if present)


def require_able(compute: str, device: torch.device, machine: Machine) -> None:
    """Refuse a device that cannot compute as the store is embedded; one that is only slow obeys.

    Raises:
        MachineError: For bfloat16 on a GPU that has none and would imitate it.
    """
    capability = machine.cuda_capability
    if compute == "bfloat16" and device.type == "cuda" and (capability is None or capability < (8, 0)):
        raise MachineError(
            f"the store is embedded in bfloat16, which this GPU (CUDA capability {capability}) does not "
            "have: take another, or say extract.dtype: float32 and give this extraction a store of its own"
        )


def fast_bfloat16(device: torch.device, machine: Machine) -> bool:
    """Whether the device multiplies bfloat16 in hardware: CUDA from capability 8.0, CPUs by their flags."""
    if device.type == "cuda":
        return machine.cuda_capability is not None and machine.cuda_capability >= (8, 0)
    return device.type == "cpu" and not machine.cpu_flags.isdisjoint(CPU_BFLOAT16)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy to the device; on CUDA from pinned memory without waiting."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def device_name(device: torch.device) -> str:
    """The device in words, for provenance."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def processor_name(path: Path = Path("/proc/cpuinfo")) -> str:
    """Model of the CPU; its architecture where the system does not say."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    line = next((line for line in text.splitlines() if line.startswith("model name")), "")
    return line.partition(":")[2].strip() or platform.processor() or platform.machine()


def worker_of(device: torch.device, compute_dtype: str, volumes: int, shard: str = "") -> Worker:
    """Who embeds here, for heartbeats."""
    processor = processor_name()
    name = processor if device.type == "cpu" else device_name(device)
    return Worker(device.type, name, compute_dtype, processor, shard, volumes)


def choose_workers(asked: int | None, device: torch.device, machine: Machine, volumes: int) -> int:
    """Decoding processes: as many as there are cores, one less beside a GPU, whose feeding needs one.

    On a CPU they yield to the backbone (see `decode.NICENESS`), so that many of them do no harm; for one
    or two volumes a process takes longer to start than it saves.
    """
    if asked is not None:
        return asked
    if volumes <= 2:
        return 0
    cores = machine.cpu_count if device.type == "cpu" else machine.cpu_count - 1
    return max(1, min(cores, MOST_WORKERS, volumes))
