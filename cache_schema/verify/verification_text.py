"""A verification in words: what was looked at, what is wrong, and what to do about it."""

from cache_schema.common.text.counts import counted
from cache_schema.verify.verify import Verification

CHECKED = "header, table, records, array metadata, checksums, kept values finite, pads empty, digests, seal"
CHECKED_FULL = "zero tokens, token norms, duplicated volumes, data without a record, stray objects"


def verification_text(verification: Verification) -> str:
    """A verification for people: what is wrong as a table, then what to do about it."""
    v = verification
    many = counted(v.n_volumes, "volume")
    head = f"{v.location}: {many}, {v.bytes_read / 1e6:.1f} MB read in {v.seconds:.1f} s"
    looked = f"looked at: {CHECKED}" + (f"; {CHECKED_FULL}" if v.full else " (--full looks at more)")
    lines = [head, looked, *v.notes]
    if v.ok:
        return "\n".join([*lines, f"all right, content digest {v.content_digest}"])
    rows = [(p.volume or "the store", p.array, p.problem) for p in v.problems]
    lines += ["", f"{len(rows)} problem{'s' if len(rows) > 1 else ''}"]
    rows = [("volume", "array", "what is wrong"), *rows]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines += [f"  {a:<{widths[0]}}  {b:<{widths[1]}}  {text}" for a, b, text in rows]
    lines += ["", "what to do"]
    volumes: dict[str, dict[str, None]] = {}
    for problem in v.problems:
        volumes.setdefault(problem.advice, {})[problem.volume or "the store"] = None
    for advice, names in volumes.items():
        some = list(names)
        more = f" and {len(some) - 8} more" if len(some) > 8 else ""
        lines.append(f"  {', '.join(some[:8])}{more}: {advice}")
    return "\n".join(lines)
