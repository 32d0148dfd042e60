"""What a look at the machine gives: one thing, how bad it is, and one line of advice."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cache_schema.common.one_line import one_line

Level = Literal["ok", "note", "problem"]
"""ok: as it should be. note: it works, and could be better, or was not asked. problem: an extraction would
fail, or leave unused what was paid for."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    topic: str
    """`python`, `cuda`, `file system`, ..."""
    level: Level
    found: str
    advice: str = ""
    """What to do, in one line; empty when there is nothing to do."""

    def as_json(self) -> dict[str, str]:
        """The finding as JSON data."""
        return {"topic": self.topic, "level": self.level, "found": self.found, "advice": self.advice}


def looked_at(topic: str, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """What a look gives; one that fails is a finding too: machines are odd in more ways than we know."""
    try:
        return list(look())
    except Exception as error:
        reason = one_line(" ".join(str(error).split()))[:300] or "no reason given"
        return [
            Finding(
                topic,
                "note",
                f"could not be found out ({type(error).__name__}: {reason})",
                "if an extraction fails, look here first",
            )
        ]


def problems(findings: Sequence[Finding]) -> int:
    """How many are problems."""
    return sum(finding.level == "problem" for finding in findings)


def findings_json(findings: Sequence[Finding]) -> Mapping[str, Any]:
    """All findings as one JSON object."""
    return {"problems": problems(findings), "findings": [finding.as_json() for finding in findings]}


def findings_text(findings: Sequence[Finding]) -> str:
    """A line per finding, the advice below it, and the sums."""
    width = max((len(finding.topic) for finding in findings), default=0)
    lines: list[str] = []
    for finding in findings:
        lines.append(f"{finding.level:8} {finding.topic:{width}}  {one_line(finding.found)}")
        if finding.advice:
            lines.append(f"{'':8} {'':{width}}  -> {one_line(finding.advice)}")
    count = {
        level: sum(finding.level == level for finding in findings) for level in ("ok", "note", "problem")
    }
    return "\n".join([*lines, "", ", ".join(f"{n} {level}" for level, n in count.items())])
