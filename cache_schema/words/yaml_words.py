"""Values in one line of YAML."""

import json
import sys
from typing import Any

import yaml

LONGEST = sys.maxsize
"""Characters before a line would be broken."""


def in_line(value: Any) -> str:
    """A value as YAML writes it in one line.

    Example:
        >>> in_line({"kind": "every", "step_mm": 4}), in_line(None), in_line("cls")
        ('{kind: every, step_mm: 4}', 'null', 'cls')
    """
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=LONGEST, allow_unicode=True)
    text = text.removesuffix("\n").removesuffix("\n...")
    # Texts of several lines are written so only by JSON, which YAML reads too.
    return json.dumps(value) if "\n" in text else text
