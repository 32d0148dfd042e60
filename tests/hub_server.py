"""A hub on this machine: the few answers of Hugging Face's that fetching a repository takes."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving import Handler, Site, serving

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repository:
    """A folder of files behind an id; `refs` are its branches, tags and commits."""

    folder: Path
    refs: dict[str, str] = field(default_factory=lambda: {"main": COMMIT})
    announced: dict[str, str] = field(default_factory=dict)
    """File -> a SHA-256 that is stated in place of its own."""
    gated: bool = False
    """Files are given to nobody."""

    def commit(self, revision: str) -> str | None:
        return revision if revision in self.refs.values() else self.refs.get(revision)

    def files(self) -> list[dict[str, Any]]:
        found = []
        for path in sorted(self.folder.rglob("*")):
            if path.is_file():
                data, name = path.read_bytes(), path.relative_to(self.folder).as_posix()
                sha = self.announced.get(name, hashlib.sha256(data).hexdigest())
                lfs = {"oid": sha, "sha256": sha, "size": len(data), "pointerSize": 134}
                entry = {"name": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest(), "etag": sha}
                found.append(entry | ({"lfs": lfs} if path.suffix == ".safetensors" else {}))
        return found


@dataclass
class Hub(Site):
    """A site whose folder is not served, but its repositories are."""

    repositories: dict[str, Repository] = field(default_factory=dict)

    def gives(self, handler: Handler) -> None:
        path = handler.path.partition("?")[0].strip("/")
        kind, _, rest = path.partition("/")
        if (kind, rest.partition("/")[0]) == ("api", "models"):
            return self._describes(handler, rest.removeprefix("models/"))
        name, _, file = path.partition("/resolve/")
        return self._sends(handler, name, *file.partition("/")[::2])

    def _describes(self, handler: Handler, path: str) -> None:
        name, _, rest = path.partition("/revision/")
        name, _, listed = name.partition("/tree/")
        revision = rest or listed.partition("/")[0] or "main"
        found = self._found(handler, name, revision)
        if found is None:
            return None
        repository, commit = found
        files = repository.files()
        if listed:
            tree = [{"type": "file", "path": each["name"], **each} for each in files]
            return _answer(handler, 200, json.dumps(tree).encode())
        siblings = [{"rfilename": each["name"], "blobId": each["oid"], **each} for each in files]
        model = {"id": name, "modelId": name, "sha": commit, "private": False, "tags": [], "downloads": 0}
        model |= {"likes": 0, "siblings": siblings}
        return _answer(handler, 200, json.dumps(model).encode())

    def _sends(self, handler: Handler, name: str, revision: str, file: str) -> None:
        found = self._found(handler, name, revision)
        if found is None:
            return None
        repository, commit = found
        if repository.gated:
            return _answer(handler, 403, b"", **{"X-Error-Code": "GatedRepo"})
        entry = next((each for each in repository.files() if each["name"] == file), None)
        if entry is None:
            return _answer(handler, 404, b"", **{"X-Error-Code": "EntryNotFound"})
        data = (repository.folder / file).read_bytes()
        handler.answer(200, data, **{"X-Repo-Commit": commit, "ETag": f'"{entry["etag"]}"'})
        return None

    def _found(self, handler: Handler, name: str, revision: str) -> tuple[Repository, str] | None:
        repository = self.repositories.get(name)
        if repository is None:
            _answer(handler, 401 if "gated" in name else 404, b"{}", **_refusal(name))
            return None
        commit = repository.commit(revision)
        if commit is None:
            _answer(handler, 404, b"{}", **{"X-Error-Code": "RevisionNotFound"})
            return None
        return repository, commit


def _refusal(name: str) -> dict[str, str]:
    return {"X-Error-Code": "GatedRepo" if "gated" in name else "RepoNotFound"}


def _answer(handler: Handler, status: int, data: bytes, **headers: str) -> None:
    handler.answer(status, data, **{"Content-Type": "application/json", **headers})


class HubHandler(Handler):
    """Answers by what the hub holds; faults are met as on any site."""

    def gives(self) -> None:
        self.site.gives(self)  # type: ignore[attr-defined]


@contextmanager
def hub_serving(hub: Hub) -> Iterator[Hub]:
    """Serve a hub on a free port until the block ends."""
    with serving(hub, HubHandler):
        yield hub
