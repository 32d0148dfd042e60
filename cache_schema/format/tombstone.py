"""A tombstone: that somebody was withdrawn from a store, without saying who.

It holds a salt and the SHA-256 of the canonical JSON of `[salt, id]`, where the id is folded, so that nobody
returns in another spelling. Whoever has an id can ask
whether it is meant; whoever has none learns only that there is one more.
"""

import secrets
from typing import Annotated, Self

from pydantic import Field

from cache_schema.common.strict import Strict
from cache_schema.format.canonical import sha256_json
from cache_schema.format.identity import folded_id

Hex64 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
"""64 lower-case hexadecimal digits."""


class Tombstone(Strict):
    """One withdrawn participant."""

    participant_sha256: Hex64
    """Salted hash of the participant's id; the object is named after it."""
    salt: Hex64
    """Random; a store's tombstones share one where they can, so that an id is hashed once to ask them all."""

    @classmethod
    def of(cls, participant: str, salt: str | None = None) -> Self:
        """The tombstone of a participant, under a given salt or a fresh one."""
        salt = salt or secrets.token_hex(32)
        return cls(participant_sha256=salted_hash(salt, participant), salt=salt)


def salted_hash(salt: str, participant: str) -> str:
    """What a participant is called in a tombstone, however the id is spelt."""
    return sha256_json([salt, folded_id(participant)])
