"""Checkpoints of a Hugging Face repository: where they lie here, fetched when that is allowed and needed.

Only JSON that is named here and safetensors files are fetched and read; no code of a repository ever runs.
"""

import re
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from textwrap import shorten

from cache_schema.common.errors import ConfigError

FILES = (
    "config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "preprocessor_config.json",
    "processor_config.json",
)
INSIDE = "*/*"
"""Files in folders of a repository are other formats' affair."""
WITHOUT_WEIGHTS = "backbone: {kind: untrained, size: tiny} tries everything out without weights"


@dataclass(frozen=True, slots=True)
class HubSource:
    """A repository at a commit, tag or branch."""

    repository: str
    revision: str | None = None
    """None for the main branch."""
    gated: bool = field(default=False, compare=False)
    """Whether its owner is known to ask who comes."""


def is_read(name: str) -> bool:
    """Whether a file of a repository is one that we read."""
    return not fnmatch(name, INSIDE) and any(fnmatch(name, pattern) for pattern in FILES)


def snapshot(source: HubSource, offline: bool) -> Path:
    """The local folder of a repository's files.

    Raises:
        ConfigError: If they are not here and cannot be fetched.
    """
    from huggingface_hub import errors, snapshot_download

    try:
        return Path(
            snapshot_download(
                source.repository,
                revision=source.revision,
                allow_patterns=list(FILES),
                ignore_patterns=INSIDE,
                local_files_only=offline,
            )
        )
    except errors.GatedRepoError as error:
        raise ConfigError(
            f"cannot get the backbone {source.repository!r}: {admission(source.repository)}, then try again"
        ) from error
    except (OSError, ValueError) as error:  # every error of the hub derives from one of the two
        advice = (
            "it is not in the local Hugging Face cache, and extract.offline is set or a lock is given; fetch "
            "it where there is internet: slicecache backbone fetch PIPELINE"
            if offline
            else "without internet give extract.backbone.path, or fetch it where there is some: slicecache "
            "backbone fetch PIPELINE"
        )
        advice += f"; {WITHOUT_WEIGHTS}"
        if source.gated:
            advice += f"; {admission(source.repository)}"
        # What follows its first sentence is advice for who programs with the library.
        elsewhere = isinstance(error, errors.LocalEntryNotFoundError)
        said = first_sentence(error) if elsewhere else beginning(error)
        raise ConfigError(f"cannot get the backbone {source.repository!r}: {advice} ({said})") from error


def admission(repository: str) -> str:
    """How somebody is let in to weights that are gated."""
    from huggingface_hub import constants

    return (
        f"its weights are gated: accept the licence at {constants.ENDPOINT}/{repository} and log in with "
        "`hf auth login`, or set HF_TOKEN"
    )


def first_sentence(error: Exception) -> str:
    """Somebody else's message up to the end of its first sentence, or line."""
    said = re.split(r"[.!?](?=\s|$)|\n", str(error).strip(), maxsplit=1)[0]
    return shorten(said, 120, placeholder=" ...") or type(error).__name__


def beginning(error: Exception, most: int = 300) -> str:
    """The beginning of somebody else's message, which ends with a whole word."""
    return shorten(str(error), most, placeholder=" ...") or type(error).__name__
