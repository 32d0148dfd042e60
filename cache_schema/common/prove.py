"""How strongly numbers are proven when they are read."""

from typing import Literal

Prove = Literal["crc32c", "sha256"]
"""What the first read of a volume's array is held to: `crc32c` finds what was swapped, restored or damaged
and costs next to nothing; `sha256` also what somebody made to have the same crc32c."""
