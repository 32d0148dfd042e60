"""What a task needs: cores, memory and time, from the plan and a few stated rates.

They are guesses on the safe side for a node that nobody has seen, each said in the script as it came about;
one line of the site file replaces any of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod

from cache_schema.common.text.counts import counted
from extract.backbones.shape import Outline
from extract.engines.decode import MOST_WORKERS
from extract.planning.plan import PlannedVolume

SLOW_GPU = 4e12
"""Operations per second of a backbone on an old GPU (a T4 in float32); time is estimated by it."""
QUICK_GPU = 4e13
"""On a common one in bfloat16; decoding cores are estimated by it, so that they keep up."""
CPU_CORE = 2e10
"""Of one core without AMX; 6e10 were measured with AVX-512."""
DECODE_SECONDS = 1e-7
"""Of one core per voxel: read, unpack, foreground, intensities; 1.8 s for 256 x 256 x 256."""
VOLUME_SECONDS = 0.2
"""Per volume besides: opening, digesting, committing on a network disk."""
START_SECONDS = 120
"""Importing torch from a network disk, and loading weights."""
SAFETY = 2.0
TASK_SECONDS = 1800
"""Work of one task: short enough to be put in between others' jobs, long enough to be worth its start."""
FINISH_PASSES, FINISH_DISK = 5, 100e6
"""Times that the last task goes over the store's bytes, at so many a second."""
FINISH_VOLUME_SECONDS, FINISH_VOLUME_BYTES = 0.02, 20_000
"""Beside its bytes; `verify` alone takes 2 ms and 3 kB a volume."""
FINISH_MINUTES, FINISH_BYTES = 60, 3 * 2**30
LEAST_MINUTES = 15
DECODE_BYTES = 32
"""Per voxel while a volume is decoded; 18 were measured."""
PROCESS_BYTES = 2e8
"""Of a decoding process besides."""
TORCH_BYTES = 4e9
"""Of the process that embeds, with a CUDA context and a batch."""
CPU_TASK_CORES = 8
UNKNOWN = Outline(1024, 16, (16, 16))
"""Taken for a backbone that says nothing of its sizes: a ViT-L."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is to be embedded for one store."""

    volumes: Sequence[PlannedVolume]
    sizes: Outline | None
    """Of the backbone; None where it does not say."""

    @property
    def slices(self) -> int:
        """At most."""
        return sum(volume.max_slices for volume in self.volumes)

    @property
    def operations(self) -> float:
        """Of all slices."""
        return self.slices * slice_operations(self.sizes or UNKNOWN)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a task asks for, and why."""

    tasks: int
    cpus: int
    memory: str
    """As Slurm reads it: `24G`."""
    time: str
    """As Slurm reads it: `1:30:00`."""
    why: dict[str, str]
    """By field."""


def estimate(
    loads: Sequence[Load],
    gpu: bool,
    most_tasks: int,
    tasks: int | None = None,
    cpus: int | None = None,
) -> Estimate:
    """Estimate what the tasks of an array need.

    Args:
        loads: What is to be embedded, of every store; a volume that several lack is decoded once.
        gpu: Whether a task has one.
        most_tasks: Of an array.
        tasks: Parts that somebody asked for.
        cpus: Cores of a task that somebody asked for.
    """
    volumes = {volume.candidate.key: volume for load in loads for volume in load.volumes}
    voxels = [prod(volume.shape or ()) for volume in volumes.values()]
    slices, operations = sum(load.slices for load in loads), sum(load.operations for load in loads)
    decode = sum(voxels) * DECODE_SECONDS + len(volumes) * VOLUME_SECONDS
    if cpus is None:
        cpus = cores_beside_gpu(decode, operations / QUICK_GPU) if gpu else CPU_TASK_CORES
    if gpu:
        seconds = max(operations / SLOW_GPU, decode / max(1, cpus - 1))
    else:
        seconds = operations / (CPU_CORE * cpus) + decode / cpus
    most = max(1, min(most_tasks, len(volumes)))
    parts = min(most, tasks or max(1, ceil(seconds / TASK_SECONDS)))
    share = seconds / parts + START_SECONDS
    minutes = max(LEAST_MINUTES, 5 * ceil(SAFETY * share / 300))
    backbones = [load.sizes for load in loads]
    weights = sum(parameters(sizes or UNKNOWN) * 4 for sizes in backbones)
    largest = max(voxels, default=0)
    workers = min(cpus, MOST_WORKERS)
    needed = memory_bytes(cpus, largest, backbones)
    speed = f"{(SLOW_GPU if gpu else CPU_CORE * cpus) / 1e12:.3g} TFLOP/s"
    guessed = "" if all(backbones) else " (a ViT-L's, since this backbone does not say)"
    several = f" for {len(loads)} stores" if len(loads) > 1 else ""
    return Estimate(
        parts,
        cpus,
        f"{ceil(needed / 2**30)}G",
        clock(minutes),
        {
            "tasks": f"{counted(slices, 'slice')} in {counted(len(volumes), 'volume')}{several}, "
            f"{seconds / 60:.0f} minutes in one task",
            "cpus": "so that decoding keeps up with the GPU" if gpu else "they decode and embed",
            "memory": f"{workers} decoding processes, the largest volume {largest / 1e6:.1f} Mvoxel, "
            f"weights {weights / 1e9:.2g} GB",
            "time": f"{operations / max(1, slices) / 1e9:.3g} GFLOP a slice{guessed} at {speed}, times "
            f"{SAFETY:g}",
        },
    )


def memory_bytes(cpus: int, largest: int, backbones: Sequence[Outline | None]) -> int:
    """Of a process that embeds, with those that decode for it.

    Args:
        cpus: Cores, each of which decodes.
        largest: Voxels of the largest volume.
        backbones: Of every store that is made at once.
    """
    weights = sum(parameters(sizes or UNKNOWN) * 4 for sizes in backbones)
    workers = min(cpus, MOST_WORKERS)
    return int(TORCH_BYTES + 2 * weights + (workers + 1) * (PROCESS_BYTES + DECODE_BYTES * largest))


def finish_needs(stores: Sequence[tuple[int, int]]) -> tuple[str, str]:
    """Memory and time of the last task, which reads each store four times and writes it once.

    Args:
        stores: Of each the volumes that are planned, and its bytes at most; 0 where the backbone does not say
            its sizes.
    """
    seconds = sum(
        size * FINISH_PASSES / FINISH_DISK + volumes * FINISH_VOLUME_SECONDS for volumes, size in stores
    )
    memory = FINISH_BYTES + max(volumes for volumes, _ in stores) * FINISH_VOLUME_BYTES
    return f"{ceil(memory / 2**30)}G", clock(max(FINISH_MINUTES, 5 * ceil(SAFETY * seconds / 300)))


def cores_beside_gpu(decode_seconds: float, embed_seconds: float) -> int:
    """As many as decode in the time that the GPU embeds, and one that feeds it."""
    return max(2, min(MOST_WORKERS, ceil(decode_seconds / max(embed_seconds, 1e-9)) + 1))


def clock(minutes: int) -> str:
    """Hours, minutes, seconds."""
    return f"{minutes // 60}:{minutes % 60:02}:00"


def blocks(sizes: Outline) -> int:
    """Of a ViT of that width, as they are released."""
    return 12 if sizes.dim <= 768 else 24 if sizes.dim <= 1024 else 40


def parameters(sizes: Outline) -> int:
    """Of the blocks: four projections and a feed-forward layer of four times the width."""
    return blocks(sizes) * 12 * sizes.dim**2


def slice_operations(sizes: Outline) -> float:
    """Of one slice: every token meets every weight once, and every other token twice in each block.

    For ViT-S/14 at 224 px 12.1e9, where 11.3e9 to 12.2e9 were counted.
    """
    tokens = 1 + prod(sizes.grid)
    return tokens * (2.0 * parameters(sizes) + 4.0 * tokens * sizes.dim * blocks(sizes))
