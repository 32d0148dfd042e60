"""A heartbeat: what a worker says of itself and of its work, every few seconds, for `slicecache status`.

It proves nothing and stands in no digest: a store is whole without it, and no reader needs it. It names no
volume and nobody who takes part in the study.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from cache_schema.common.strict import Strict
from cache_schema.format.canonical import sha256_json
from cache_schema.format.layout import WORKERS
from cache_schema.format.limits import MAX_WHOLE

Text = Annotated[str, Field(max_length=200)]
Count = Annotated[int, Field(ge=0, le=MAX_WHOLE)]
Seconds = Annotated[float, Field(ge=0, le=1e12)]


class Heartbeat(Strict):
    """One worker at one moment; times are UTC by its own clock."""

    host: Text
    pid: Count
    job: Text
    """As the scheduler calls it, e.g. `slurm 1234_5`; empty without one."""
    shard: str = Field(pattern=r"^([0-9]{1,7}/[0-9]{1,7})?$")
    """`I/N`; empty for a worker that takes whatever is left."""
    processor: Text
    """Model of the CPU."""
    device: Text
    """Kind of what embeds: `cpu`, `cuda`, `mps`."""
    device_name: Text
    compute_dtype: Text
    started: AwareDatetime
    beat: AwareDatetime
    """When this was said."""
    state: Literal["running", "done", "stopped", "failed"]
    volumes: Count
    """That it was given."""
    committed: Count
    failed: Count
    slices: Count
    """Committed."""
    slices_per_second: Seconds
    """Over the last minute or so."""
    busy_seconds: Seconds
    """Since its first image came, without the next field."""
    waiting_seconds: Seconds
    """In which the device had nothing to do, because the next image was not decoded."""

    @property
    def name(self) -> str:
        """Name of its object."""
        return heartbeat_name(self.host, self.pid, self.started)


def heartbeat_name(host: str, pid: int, started: datetime) -> str:
    """Object name of a worker's heartbeat, the same as long as it lives."""
    return f"{WORKERS}/{sha256_json([host, pid, started.isoformat()])[:16]}.json"
