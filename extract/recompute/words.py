"""What recomputing found, for people."""

from collections.abc import Sequence

from cache_schema.common.text.counts import counted
from extract.recompute.recompute import DeepCheck


def describe_check(found: DeepCheck) -> str:
    """The worst of every array, the tolerance, and each problem with what to do."""
    limit = found.tolerance
    lines = [
        f"made again: {counted(found.n_slices, 'slice')} of {counted(found.n_volumes, 'volume')} in "
        f"{found.seconds:.1f} s",
        f"tolerance: {found.reason}",
        *aligned(
            [("  array", "worst cosine", "largest difference", "of the largest number")]
            + [
                (f"  {name}", f"{worst.cosine:.6f}", f"{worst.difference:.3g}", f"{worst.share:.2%}")
                for name, worst in found.arrays.items()
            ]
            + [("  tolerance", f"{limit.cosine:.6f}", "", f"{limit.share:.2%}")]
        ),
    ]
    if found.identical:
        return "\n".join([*lines, "all right, to the last bit"])
    if found.ok:
        return "\n".join([*lines, "all right within the tolerance"])
    lines.append(f"{len(found.problems)} problem{'s' if len(found.problems) > 1 else ''}:")
    for problem in found.problems:
        lines += [f"  {problem.volume}, {problem.array}: {problem.problem}", f"      -> {problem.advice}"]
    return "\n".join(lines)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a small table."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
