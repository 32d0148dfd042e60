"""Who a volume is: the key that names it for life."""

from dataclasses import dataclass

from cache_schema.format.canonical import sha256_json


@dataclass(frozen=True, slots=True, order=True)
class VolumeKey:
    """Participant, session (empty when there is none) and volume id (remaining BIDS entities and suffix)."""

    participant_id: str
    session_id: str
    volume_id: str

    @property
    def digest(self) -> str:
        """SHA-256 of the key; stored objects are named by it and never by the key's text."""
        return sha256_json(self.as_list())

    def as_list(self) -> list[str]:
        """The three parts in order, the canonical form that digests are taken over."""
        return [self.participant_id, self.session_id, self.volume_id]

    def __str__(self) -> str:
        return "/".join(part for part in self.as_list() if part)
