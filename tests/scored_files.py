"""What two runs of a detection must leave alike, bit for bit: everything but what was measured in seconds."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors.numpy import load_file

APART = ("log.txt", "report.html", "report.json", "config.yaml", "requirements.lock")
"""Name the run's own folder, command, times, or what else was imported."""


def files_of(run: Path) -> dict[str, bytes]:
    """Every file by name, seconds taken out; not what a killed process had half written: nobody reads it."""
    return {
        path.relative_to(run).as_posix(): without_seconds(path)
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.name not in APART and ".writing~" not in path.name
    }


def without_seconds(path: Path) -> bytes:
    """A file's content."""
    if path.name == "detectors.csv":
        return pd.read_csv(path).drop(columns="ms_per_slice").to_csv().encode()
    if path.suffix == ".json" and path.name in ("bundle.json", "metrics.json"):
        return json.dumps(_stripped(json.loads(path.read_text()))).encode()
    if path.parent.parent.name == "scores" and path.suffix == ".safetensors":
        arrays = load_file(path)
        return b"".join(name.encode() + arrays[name].tobytes() for name in sorted(arrays))
    return path.read_bytes()


def _stripped(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _stripped(own) for name, own in value.items() if name != "ms_per_slice"}
    return [_stripped(own) for own in value] if isinstance(value, list) else value
