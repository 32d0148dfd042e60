"""Mistakes in what was asked or given: one sentence each, exit code 2, no traceback."""

from cache_schema.common.one_line import one_line


class OneLine(Exception):
    """An error whose text is one line, whatever stands in it."""

    def __str__(self) -> str:
        """The sentence, cut where it would fill a screen."""
        return one_line(super().__str__())


class SlicecacheError(OneLine):
    """What was expected, what was found, where, and what to do, in one sentence.

    Example:
        >>> try:
        ...     store = sc.open("cache.zarr")
        ... except sc.SlicecacheError as error:
        ...     print(error)
    """


class ConfigError(SlicecacheError):
    """A pipeline file, an override or an argument says something that cannot be meant.

    Example:
        >>> sc.train({"head": {"kind": "atention"}})
        ConfigError: ...
    """


class StoreError(SlicecacheError):
    """A path is not a readable slicecache store, or the store contradicts itself.

    Example:
        >>> sc.open("absent.zarr")
        StoreError: there is no store at 'absent.zarr'; `slicecache extract` makes one
    """


class StoreMismatch(StoreError):
    """A store was made otherwise than what is asked for now; the message names each differing field.

    Example:
        >>> sc.predict("runs/demo/bundle", "another.zarr")
        StoreMismatch: ...
    """


class ParticipantWithdrawn(StoreError):
    """Somebody was withdrawn from the store: nothing of theirs is written, and that is no failure.

    Example:
        >>> writer.commit(draft, arrays)
        ParticipantWithdrawn: ...
    """


class VolumeError(OneLine):
    """One volume cannot be used; the sentence becomes its row in `failures.tsv`, the others go on."""


class MachineError(SlicecacheError):
    """The machine failed and not who asked: disk full, read-only, no permission, a server gone; exit code 3.

    It is no `StoreError`: who cannot be read is not thereby damaged.

    Example:
        >>> sc.open("s3://bucket/cache.zarr")
        MachineError: ...
    """
