"""Somebody else's text on a page or a terminal: nothing in it that acts, hides or fills the screen."""

import unicodedata

LABEL = 60
"""Characters of a label in a figure or a line."""
ACTING = frozenset("\u061c\u200b\u200e\u200f\u2028\u2029\u2060\ufeff") | {
    chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
"""Characters that turn the direction of what follows, break lines, or show nothing at all. Joiners stay:
Persian and emoji need them."""


def visible(text: str) -> str:
    r"""Text with every character that acts replaced by its escape; line ends and tabs stay.

    Example:
        >>> visible("ab\x1b[31m\u202e")
        'ab\\x1b[31m\\u202e'
    """
    return text if text.isascii() and text.isprintable() else "".join(map(_visible, text))


def _visible(letter: str) -> str:
    if letter in "\n\t":
        return letter
    acts = letter in ACTING or unicodedata.category(letter) in ("Cc", "Cs", "Cn")
    return repr(letter)[1:-1] if acts else letter


def shortened(text: str, most: int) -> str:
    """So many characters, and how many there were."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


def label(text: str, most: int = LABEL) -> str:
    """A label fit for a line of a terminal or an axis: one line, visible, short."""
    line = " ".join(visible(text).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
