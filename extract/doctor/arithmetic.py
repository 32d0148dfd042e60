"""torch, and the accelerators that it sees beside those that are there."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from extract.doctor.finding import Finding

DRIVER = Path("/proc/driver/nvidia/version")
GIBIBYTE = 2**30
BFLOAT16_FROM = (8, 0)
"""Compute capability from which CUDA devices multiply bfloat16 in hardware."""
SMALL_GPU = 4 * GIBIBYTE


@dataclass(frozen=True, slots=True)
class Gpu:
    """One CUDA device, as torch sees it."""

    name: str
    memory: int
    """Bytes, all of it."""
    capability: tuple[int, int]


@dataclass(frozen=True, slots=True)
class TorchFacts:
    """torch's build and what it computes with."""

    version: str
    cuda: str
    """CUDA version of the build; empty for a CPU build."""
    cpu_capability: str
    threads: int
    gpus: tuple[Gpu, ...] = ()
    mps: bool = False
    failure: str = ""
    """Why the devices could not be asked."""


@dataclass(frozen=True, slots=True)
class AcceleratorFacts:
    """What the machine says without torch."""

    driver: str
    """First line of the NVIDIA driver; empty without one."""
    visible: str | None
    """`CUDA_VISIBLE_DEVICES`; None when it is not set."""


def torch_facts() -> TorchFacts | None:
    """Ask torch; None when it is not installed."""
    try:
        import torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        return None
    failure = ""
    gpus: tuple[Gpu, ...] = ()
    try:
        if torch.cuda.is_available():
            gpus = tuple(_gpu(torch.cuda.get_device_properties(i)) for i in range(torch.cuda.device_count()))
    except Exception as error:  # drivers fail in ways of their own
        failure = " ".join(str(error).split())[:300] or type(error).__name__
    capability = getattr(torch.backends.cpu, "get_cpu_capability", lambda: "unknown")()
    mps = torch.backends.mps.is_available()
    cuda = torch.version.cuda or ""
    return TorchFacts(torch.__version__, cuda, capability, torch.get_num_threads(), gpus, mps, failure)


def _gpu(found: "object") -> Gpu:
    """One device of torch's own description."""
    name, memory, *capability = (getattr(found, at) for at in ("name", "total_memory", "major", "minor"))
    return Gpu(str(name), int(memory), (int(capability[0]), int(capability[1])))


def accelerator_facts(driver: Path = DRIVER) -> AcceleratorFacts:
    """Ask the system."""
    try:
        first = driver.read_text(encoding="utf-8", errors="replace").splitlines()[0].strip()
    except (OSError, IndexError):
        first = ""
    return AcceleratorFacts(" ".join(first.split()), os.environ.get("CUDA_VISIBLE_DEVICES"))


def judge_torch(facts: TorchFacts | None, needed: bool) -> Finding:
    """The library itself, and how it was built."""
    if facts is None:
        advice = "for extract, train and predict: pip install 'slicecache[extract]'"
        return Finding("torch", "problem" if needed else "note", "not installed", advice)
    build = f"CUDA {facts.cuda}" if facts.cuda else "a build for CPUs"
    shown = f"{facts.version} ({build}), {facts.cpu_capability}, {facts.threads} threads"
    if facts.cpu_capability == "DEFAULT":
        return Finding("torch", "note", shown, "it uses no AVX: is ATEN_CPU_CAPABILITY set?")
    return Finding("torch", "ok", shown)


def judge_gpus(facts: TorchFacts | None, machine: AcceleratorFacts, wanted: str) -> list[Finding]:
    """What torch sees beside what is there; a GPU that lies idle unseen is a problem, none at all is not."""
    if facts is not None and facts.gpus:
        return [_judge_gpu(number, gpu, machine.driver) for number, gpu in enumerate(facts.gpus)]
    if facts is not None and facts.mps:
        return [Finding("gpu", "ok", "Metal (mps)")]
    if not machine.driver:
        return [_no_gpu(wanted)]
    level: Literal["note", "problem"] = "note" if wanted == "cpu" else "problem"
    if facts is None:
        return [Finding("gpu", "note", machine.driver, "torch is needed to use it")]
    if not facts.cuda:
        advice = "install a CUDA build of torch, or no GPU is used"
        return [Finding("gpu", level, f"{machine.driver}, and torch {facts.version} is for CPUs", advice)]
    if machine.visible is not None and machine.visible.strip() in ("", "-1", "NoDevFiles"):
        advice = "ask the scheduler for one (Slurm: --gres=gpu:1), or unset it"
        return [Finding("gpu", level, f"hidden by CUDA_VISIBLE_DEVICES={machine.visible!r}", advice)]
    why = facts.failure or "torch sees none"
    advice = f"try nvidia-smi; the driver may be older than CUDA {facts.cuda} needs"
    return [Finding("gpu", level, f"{machine.driver}, and no device: {why}", advice)]


def _no_gpu(wanted: str) -> Finding:
    if wanted in ("cuda", "mps"):
        advice = "run it on a node that has one, or set extract.device: auto"
        return Finding("gpu", "problem", f"none, and extract.device is {wanted!r}", advice)
    level: Literal["ok", "note"] = "ok" if wanted == "cpu" else "note"
    advice = "" if wanted == "cpu" else "a login node may have none; a CPU embeds some 20 slices/s"
    return Finding("gpu", level, "none", advice)


def _judge_gpu(number: int, gpu: Gpu, driver: str) -> Finding:
    """One device that torch can use."""
    major, minor = gpu.capability
    shown = f"{gpu.name}, {gpu.memory / GIBIBYTE:.0f} GiB, capability {major}.{minor}"
    shown += ", bfloat16" if gpu.capability >= BFLOAT16_FROM else ", no bfloat16"
    shown += f"; {driver}" if driver else ""
    if gpu.memory < SMALL_GPU:
        return Finding(f"gpu {number}", "note", shown, "little memory: a batch is halved when it runs out")
    if gpu.capability < BFLOAT16_FROM:
        advice = "it computes in float32; a store is of one arithmetic, so let no newer GPU create it"
        return Finding(f"gpu {number}", "note", shown, advice)
    return Finding(f"gpu {number}", "ok", shown)
