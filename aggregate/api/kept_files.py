"""The run folder behind a result: the caller's own, or a temporary one that goes when the result goes."""

import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aggregate.common.artefacts import write_yaml
from cache_schema.common.errors import ConfigError
from cache_schema.common.text.yaml_text import read_yaml


class KeptFiles:
    """Files of one study."""

    def __init__(self, folder: Path, temporary: bool) -> None:
        """Hold a run folder; `keeping` makes one."""
        self.folder, self.temporary = folder, temporary
        # Not TemporaryDirectory: that warns whenever nobody closes it, and a result has no end.
        self._remove = (
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True) if temporary else None
        )

    def __repr__(self) -> str:
        place = "a temporary folder, until saved" if self.temporary else repr(str(self.folder))
        return f"<KeptFiles in {place}>"

    def __getstate__(self) -> dict[str, Any]:
        """A copy in another process names the folder, but does not own it."""
        return {"folder": self.folder, "temporary": self.temporary, "_remove": None}

    def remove(self) -> None:
        """Take a temporary folder away now."""
        if self._remove is not None:
            self._remove()

    def copy_to(self, folder: Path) -> None:
        """Copy everything, and let what is written about the old place speak of the new one.

        Raises:
            ConfigError: If something else is there already, or the files are gone.
        """
        if not self.folder.is_dir():
            raise ConfigError(
                "the files of this result were temporary and are gone; save it in the process that made it"
            )
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(f"{str(folder)!r} is there already and not empty; save to another folder")
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        for config in folder.rglob("config.yaml"):
            data = read_yaml(config, str(config))
            write_yaml(config, moved(data, str(self.folder), str(folder)))


@contextmanager
def keeping(folder: str | Path | None) -> Iterator[KeptFiles]:
    """The run folder that was asked for, or a temporary one, which does not outlive an error."""
    if folder is not None:
        yield KeptFiles(Path(folder).expanduser().absolute(), temporary=False)
        return
    kept = KeptFiles(Path(tempfile.mkdtemp(prefix="slicecache-")), temporary=True)
    try:
        yield kept
    except BaseException:
        kept.remove()
        raise


def moved(value: Any, old: str, new: str) -> Any:
    """A configuration in which paths below `old` are below `new`."""
    if isinstance(value, dict):
        return {key: moved(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [moved(item, old, new) for item in value]
    inside = isinstance(value, str) and (value == old or value.startswith(f"{old}/"))
    return new + value[len(old) :] if inside else value
