"""How fast a machine embeds and decodes: stated for a kind of device, without torch."""

from dataclasses import dataclass
from pathlib import Path

from cache_schema.common.errors import ConfigError
from extract.backbones.shape import Outline
from extract.cluster.estimate import (
    CPU_CORE,
    DECODE_SECONDS,
    QUICK_GPU,
    SLOW_GPU,
    UNKNOWN,
    VOLUME_SECONDS,
    slice_operations,
)

DRIVER = Path("/proc/driver/nvidia/version")
"""There where a GPU of NVIDIA is."""
DEVICES = {"cpu": CPU_CORE, "t4": SLOW_GPU, "gpu": QUICK_GPU}
"""Operations a second: of a core, of an old GPU, of a common one in bfloat16."""
HERE = "here"
UNSTEADY = 1.25
"""By which an idle machine is quicker or slower than it was in a probe of a second."""
STATED_SAFETY = 4.0
"""By which the best of a kind of device is quicker than what is stated for it."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Of one machine for one store."""

    slices_per_s: float
    decode_s: float
    """Seconds of one core per voxel."""
    gpu: bool
    """Whether decoding has cores of its own."""
    said: str
    """Where it comes from."""
    kept: float = 1.0
    """Of the most slices that volumes may keep, the share that a sample kept."""
    measured: bool = False
    volume_s: float = VOLUME_SECONDS
    """Of one core per volume besides."""
    trial_s: float = 0.0
    """Until an engine and a dtype are chosen."""

    def around(self, hours: float) -> tuple[float, float]:
        """Between which hours it will be.

        What is measured may be out by a quarter; a kind of device is stated for the slow ones of its kind.
        """
        return (hours / UNSTEADY, hours * UNSTEADY) if self.measured else (hours / STATED_SAFETY, hours)


def stated_rate(asked: str, sizes: Outline | None, cores: int, driver: Path = DRIVER) -> Rate:
    """The rate of a kind of device, or as somebody states it.

    Args:
        asked: `here`, one of `DEVICES`, or slices a second.
        sizes: Of the backbone; None where it does not say.
        cores: Of the machine.
        driver: Tells whether there is a GPU here.

    Raises:
        ConfigError: If it is none of these.
    """
    name = ("gpu" if driver.exists() else "cpu") if asked == HERE else asked
    if name not in DEVICES:
        return Rate(_number(asked), DECODE_SECONDS, True, f"{asked} slices/s, as was said")
    speed = DEVICES[name] * (cores if name == "cpu" else 1)
    guess = "" if sizes is not None else " for a ViT-L, since this backbone does not say its sizes"
    said = f"{speed / 1e12:.3g} TFLOP/s stated for {f'{cores} cores' if name == 'cpu' else name}{guess}"
    return Rate(speed / slice_operations(sizes or UNKNOWN), DECODE_SECONDS, name != "cpu", said)


def _number(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < 1e9:
        raise ConfigError(f"--rate takes {', '.join(DEVICES)} or slices a second, e.g. 250, not {text!r}")
    return rate
