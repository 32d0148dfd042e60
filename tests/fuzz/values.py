"""Values that parsers stumble over, and text that no dump writes."""

import datetime
from random import Random
from typing import Any

WORDS = (
    "", " ", "0", "-1", "1e400", "nan", "NaN", "inf", "null", "~", "yes", "n/a", "True", "\x00", "a\x00b",
    "\ufeff",
    "\u202egnp.exe", "\u200b", "e\u0301", "\u212a", "\ud800", "ﬁ", "İ", "ß", "٣", "½", "𝟙", "🧠",
    "\x1b[31m", "\r", "\n",
    "a\nb", "\t", "../../../etc/passwd", "/etc/passwd", "..", ".", "/", "C:\\x", "file:///etc/passwd",
    "http://", "s3://", "://", "~nobody/x", "~", "$HOME", "%s%n", "{0}", "=1+1", "+1", "-1+1", "@SUM(A1)",
    "__class__", "__init__", "os:system", "a.b:C", "sub-01", "ses-", "'", '"', "`", "[", "{", "&a", "*a",
    "!!binary x",
    "kind", "custom", "inf,nan", "1;2", "$\\frac{$", "<script>", "A" * 300, "A" * 5000, "x" * 70000,
)  # fmt: skip

NUMBERS = (
    0, 1, -1, 2, 7, 255, 256, 2**15, 2**16, 2**31 - 1, 2**31, -(2**31), 2**32, 2**53 + 1, 2**63 - 1, 2**63,
    -(2**63) - 1,
    2**64, 10**12, 10**30, 10**400, 0.0, -0.0, 0.5, 1.5, -1.5, 1e-320, 1e-9, 1e300, 1.8e308, float("inf"),
    float("-inf"),
    float("nan"),
)  # fmt: skip

DEEP, HUGE = "@@deep{}@@", "@@huge@@"
"""Stand in a tree for nesting and digits, which dumps refuse to write; see `expanded`."""


def odd_value(rng: Random, yaml: bool = False) -> Any:
    """Something of another kind than whatever stood there."""
    kind = rng.randrange(12 if yaml else 10)
    if kind < 3:
        return rng.choice(WORDS)
    if kind < 6:
        return rng.choice(NUMBERS)
    if kind == 6:
        return rng.choice([None, True, False, [], {}, [[]], [{}], {"": ""}, [None]])
    if kind == 7:
        return rng.choice([DEEP.format(30), DEEP.format(1200), DEEP.format(100_000), HUGE])
    if kind == 8:
        return [rng.choice(NUMBERS) for _ in range(rng.choice([1, 2, 3, 4, 50, 3000]))]
    if kind == 9:
        return {rng.choice(WORDS): rng.choice(WORDS), "kind": rng.choice(WORDS)}
    if kind == 10:
        return rng.choice(
            [datetime.date(2020, 1, 2), datetime.datetime(2020, 1, 2, 3), b"\xff\x00", {"a", "b"}]
        )
    return rng.choice([{1: 2}, {None: 1}, {True: 1}, {1.5: 1}, {datetime.date(2020, 1, 2): 1}])


def expanded(text: str) -> str:
    """What `DEEP` and `HUGE` stand for, written out."""
    for quote in ("'", '"', ""):
        text = text.replace(f"{quote}{HUGE}{quote}", "9" * 5000)
        for depth in (30, 1200, 100_000):
            text = text.replace(f"{quote}{DEEP.format(depth)}{quote}", "[" * depth + "]" * depth)
    return text
