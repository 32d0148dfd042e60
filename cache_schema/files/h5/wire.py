"""What goes between a process and the one in which HDF5 runs for it: no pickle, and no length is believed.

A question is a line of JSON. An answer is two lengths, JSON, and raw bytes. `ready` comes first of all.
"""

import json
import struct
from typing import Any

HEAD = struct.Struct("<QQ")
"""Bytes of the JSON, and of what comes behind it."""
MOST_JSON = 1 << 28

UNUSUAL, UNOPENED, BROKEN, DONE = "unusual", "unopened", "broken", "done"
"""Under `kind`: something that is not read; no HDF5 file; HDF5 fails inside it; the answer."""


def question(**given: Any) -> bytes:
    """A question as it is sent."""
    return json.dumps(given).encode() + b"\n"


def answer(said: dict[str, Any], n_bytes: int) -> bytes:
    """The beginning of an answer, behind which so many bytes come."""
    text = json.dumps(said).encode()
    return HEAD.pack(len(text), n_bytes) + text
