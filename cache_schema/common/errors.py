"""Mistakes in what was asked or given: one sentence each, exit code 2, no traceback."""


class SlicecacheError(Exception):
    """What was expected, what was found, where, and what to do, in one sentence."""


class ConfigError(SlicecacheError):
    """A pipeline file or an override says something that cannot be meant."""


class StoreError(SlicecacheError):
    """A path is not a readable slicecache store, or the store contradicts itself."""


class StoreMismatch(StoreError):
    """A store was made otherwise than what is asked for now; the message names each differing field."""


class VolumeError(Exception):
    """One volume cannot be used; the sentence becomes its row in `failures.tsv`, the others go on."""
