"""A sentence as it is shown: one line, nothing that steers a terminal, and an end.

What somebody wrote stands in many sentences, and it may be anything: a file name with a line break, a label
of a megabyte.
"""

LONGEST = 2000
"""Characters; of a longer one the start and the end are kept, where the place and the advice are."""


def one_line(text: str) -> str:
    """A text on one line, cut in the middle where it is long."""
    # Twice, since what is escaped grows.
    return _cut(printable(_cut(text)))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST * 2 // 3]} ... {text[-LONGEST // 4 :]}"


def printable(text: str) -> str:
    """A text without line breaks and without what would steer a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
