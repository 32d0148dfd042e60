"""Which of two classes is the positive one where nobody says."""

from collections.abc import Iterable, Sequence

from aggregate.common.table_values import is_missing, natural, value_name

CONTROLS = {"control", "controls", "ctrl", "con", "healthy", "hc", "nc", "cn", "nl", "normal", "negative"}
NEGATIVES = CONTROLS | {"neg", "no", "none", "false", "0", "-1", "unaffected", "absent"}
"""Words, in lower case, for the class that is not positive."""


def usual_positive(names: Sequence[str], written_out: bool = False) -> tuple[str, str]:
    """The positive one of two classes, and why it is.

    Args:
        names: In their order.
        written_out: By the user, who so chose the order.
    """
    negative = [name for name in names if name.lower() in NEGATIVES]
    if written_out:
        return names[-1], "it stands last in target.classes"
    if len(negative) != 1:
        return names[-1], "it is the last class"
    positive = next(name for name in names if name != negative[0])
    return positive, f"{negative[0]!r} is a word for those without"


def positive_of(cells: Iterable[str]) -> tuple[str, str] | None:
    """The positive class of a column and why, as a training would have it; None of other than two classes."""
    names = sorted({value_name(cell) for cell in cells if not is_missing(cell)}, key=natural)
    return usual_positive(names) if len(names) == 2 else None
