"""A sentence as it is shown: one line, nothing that steers a terminal, and an end.

What somebody wrote stands in many sentences, and it may be anything: a file name with a line break, a label
of a megabyte.
"""

LONGEST = 2000
"""Characters; of a longer one the start and the end are kept, where the place and the advice are."""


def one_line(text: str) -> str:
    """A text on one line, cut in the middle where it is long."""
    if len(text) > LONGEST:
        text = f"{text[: LONGEST * 2 // 3]} ... {text[-LONGEST // 3 :]}"
    return printable(text)


def printable(text: str) -> str:
    """A text without line breaks and without what would steer a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
