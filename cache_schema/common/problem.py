"""One thing that is wrong with a store, and what to do about it."""

from dataclasses import dataclass

EXTRACT_AGAIN = "extract this volume again with --replace"
WRITE_AGAIN = "run the extraction once more: a writer repairs this when it opens the store"
RESTORE = "restore it from a copy of the store, or extract to a new store"
EXTRACT_OR_REMOVE = (
    "run the extraction again, which writes this volume anew; `slicecache cache remove` takes out what was "
    "withdrawn"
)
LOOK_AT_IMAGE = "look at the image and the preview, then extract this volume again with --replace"
REMOVE_ONE = (
    "find out which of them is right; take the other out with `slicecache cache remove`, or correct the "
    "input and extract it again with --replace"
)
REMOVE_AGAIN = (
    "finish the removal with `slicecache cache remove STORE PARTICIPANT`, as often as you like, or "
    "take them back with `slicecache extract --readmit`"
)
DELETE_IT = "delete it: nothing reads it"
UNPACK = "run `slicecache cache unpack` first and `slicecache cache pack` afterwards"
SEAL_AGAIN = "run `slicecache cache seal` again once the records are right"


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem by volume and array."""

    volume: str
    """The volume's key; empty when it concerns the whole store."""
    array: str
    """The array, or the part of the store (`record`, `table`, `header.json`, `sealed`)."""
    problem: str
    advice: str
    """What to do about it."""
