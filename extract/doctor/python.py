"""Python, and which of the extras are installed, by what the distribution itself says that they need."""

import platform
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

from extract.doctor.finding import Finding

VERBS = {
    "extract": "plan, extract, recompute, backbone",
    "aggregate": "train, ablate, detect, predict",
    "gzip": "nothing; compressed images are decoded more slowly",
    "openvino": "engine: openvino, the faster one on most CPUs",
    "explain": "integrated gradients in explain",
    "report": "report.html of train, ablate and detect",
    "cluster": "extract --engine dask",
    "remote": "stores and images by URL",
    "tables": ".xlsx workbooks and Parquet as tables",
    "simulate": "simulate",
}
"""Extra -> what does not work without it."""
OLDEST = (3, 11)
REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+).*;.*extra\s*==\s*['\"]([a-z]+)['\"]")


@dataclass(frozen=True, slots=True)
class PythonFacts:
    """What runs, and what it has."""

    version: tuple[int, int, int]
    implementation: str
    system: str
    bits: int
    extras: Mapping[str, Mapping[str, str | None]]
    """Extra -> distribution -> its version, None when it is absent; empty when nobody knows."""


def python_facts() -> PythonFacts:
    """Look at this process."""
    return PythonFacts(
        sys.version_info[:3],
        platform.python_implementation(),
        f"{platform.system()} {platform.release()} {platform.machine()}",
        64 if sys.maxsize > 2**32 else 32,
        read_extras(),
    )


def read_extras() -> dict[str, dict[str, str | None]]:
    """Which distributions each extra of ours asks for, and their installed versions."""
    found: dict[str, dict[str, str | None]] = {}
    try:
        asked = requires("slicecache") or []
    except PackageNotFoundError:  # used from a checkout that nobody installed
        return found
    for requirement in asked:
        match = REQUIREMENT.match(requirement)
        if match is not None and match[2] in VERBS and match[1] != "slicecache":
            found.setdefault(match[2], {})[match[1]] = _version(match[1])
    return found


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def judge_python(facts: PythonFacts, needed: Iterable[str] = ()) -> list[Finding]:
    """Python itself, and a finding per extra.

    Args:
        facts: What is there.
        needed: Extras that a pipeline cannot do without.
    """
    shown = f"{facts.implementation} {'.'.join(map(str, facts.version))}, {facts.bits} bits, {facts.system}"
    if facts.version < OLDEST:
        return [Finding("python", "problem", shown, "slicecache needs Python 3.11 or newer, of 64 bits")]
    if facts.bits != 64:
        return [Finding("python", "problem", shown, "take a Python of 64 bits")]
    findings = [Finding("python", "ok", shown)]
    if not facts.extras:
        advice = "install it: pip install '.[extract]' in the checkout"
        return [*findings, Finding("extras", "note", "slicecache is not installed as a distribution", advice)]
    return findings + [judge_extra(name, facts.extras[name], name in needed) for name in sorted(facts.extras)]


def judge_extra(name: str, packages: Mapping[str, str | None], needed: bool) -> Finding:
    """One extra: all there, or what is absent and which verbs that concerns."""
    absent = sorted(package for package, found in packages.items() if found is None)
    topic = f"[{name}]"
    if not absent:
        return Finding(topic, "ok", ", ".join(f"{package} {found}" for package, found in packages.items()))
    return Finding(
        topic,
        "problem" if needed else "note",
        f"not installed: {', '.join(absent)}",
        f"for {VERBS[name]}: pip install 'slicecache[{name}]'",
    )
