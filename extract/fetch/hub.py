"""What the hub offers and gives; the only room that calls out, and only because somebody typed `fetch`."""

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cache_schema.common.errors import ConfigError, MachineError, SlicecacheError
from cache_schema.common.machine import refuse_machine
from extract.backbones.checkpoint.hub import FILES, INSIDE, HubSource, admission, beginning, is_read


@dataclass(frozen=True, slots=True)
class Offer:
    """The files of a repository that we would read, at the commit that its revision means now."""

    commit: str
    sha256: Mapping[str, str | None]
    """File -> its SHA-256 as the hub states it, which it does for large ones."""


def offered(source: HubSource) -> Offer:
    """Ask the hub.

    Raises:
        ConfigError: If there is no such repository or revision, or nothing in it that we read.
        MachineError: If it cannot be reached.
    """
    from huggingface_hub import HfApi, constants

    with hub_said(source):
        api = HfApi(endpoint=constants.ENDPOINT)
        info = api.model_info(source.repository, revision=source.revision, files_metadata=True)
    siblings = info.siblings or []
    files = {each.rfilename: each.lfs for each in siblings if is_read(each.rfilename)}
    if "config.json" not in files or not any(name.endswith(".safetensors") for name in files):
        there = ", ".join(sorted(each.rfilename for each in siblings)[:5]) or "nothing"
        raise ConfigError(
            f"the repository {source.repository!r} has not both config.json and .safetensors files, which "
            f"are what is read (pickled weights can run code); it has {there}"
        )
    return Offer(str(info.sha), {name: None if lfs is None else lfs.sha256 for name, lfs in files.items()})


def download(source: HubSource, folder: Path | None) -> Path:
    """Get the files that we read, into the hub's cache or a folder of our own; where they lie.

    Raises:
        ConfigError: As `offered`.
        MachineError: If the hub goes away, or the disk is full.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    with hub_said(source):
        return Path(
            snapshot_download(
                source.repository,
                revision=source.revision,
                allow_patterns=list(FILES),
                ignore_patterns=INSIDE,
                local_dir=folder,
                endpoint=constants.ENDPOINT,
            )
        )


@contextmanager
def hub_said(source: HubSource) -> Iterator[None]:
    """Put what the hub's package raises into one sentence.

    Raises:
        ConfigError: If what was asked for is not there, or not for us.
        MachineError: If the network or the disk failed.
    """
    from huggingface_hub import constants, errors

    # It tells of every attempt; what came of the last one is said below.
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
    what = f"cannot fetch {source.repository!r}"
    what += f" at {source.revision!r}" if source.revision else ""
    if constants.HF_HUB_OFFLINE:
        raise ConfigError(f"{what}: HF_HUB_OFFLINE is set; unset it where there is internet")
    try:
        yield
    except SlicecacheError:
        raise
    except errors.GatedRepoError as error:
        raise ConfigError(f"{what}: {admission(source.repository)}, then fetch again") from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise ConfigError(f"{what}: {constants.ENDPOINT} has no such repository or revision") from error
    except errors.HFValidationError as error:
        raise ConfigError(f"{what}: {beginning(error)}") from error
    except Exception as error:  # each version of the package has another HTTP library with its own errors
        refuse_machine(error, "fetch into", getattr(error, "filename", None) or "the hub's cache")
        raise MachineError(
            f"{what} from {constants.ENDPOINT}: {beginning(error)}; nothing half-written has its name, "
            "and the same command goes on"
        ) from error
