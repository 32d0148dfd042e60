"""What computed the numbers: versions, digests, and how to make them again."""

from aggregate.common.run_folder import CONFIG, LOCK
from aggregate.common.versions import extraction_libraries
from aggregate.paper.finished import TO_FILL, Finished
from aggregate.paper.sentences.words import cite, listed

SOFTWARE = {
    "slicecache": "slicecache",
    "torch": "paszke2019pytorch",
    "numpy": "harris2020numpy",
    "scipy": "virtanen2020scipy",
    "scikit-learn": "pedregosa2011sklearn",
    "pandas": "mckinney2010pandas",
    "matplotlib": "hunter2007matplotlib",
    "nibabel": "brett2024nibabel",
    "transformers": "wolf2020transformers",
    "zarr": "zarr",
}
"""Distribution -> what is cited for it."""


def locked(run: Finished) -> dict[str, str]:
    """Name and version of every distribution that was imported."""
    pairs = (line.partition("==") for line in run.lock)
    return {name.strip().lower(): version.strip() for name, same, version in pairs if same}


def versions(run: Finished) -> str:
    """Libraries of both stages."""
    found = locked(run) or {}
    own = {str(name): str(version) for name, version in (run.metrics.get("versions") or {}).items()}
    computed = {**{name: found[name] for name in SOFTWARE if name in found}, **own}
    first = (
        f"Stage two was computed with {_told(computed)}" if computed else f"Versions of stage two: {TO_FILL}"
    )
    header = run.header
    libraries = {} if header is None else extraction_libraries(header)
    second = (
        f" The embeddings were computed with {_told(libraries)}."
        if libraries
        else f" Versions of the extraction: {TO_FILL}."
    )
    return f"{first}.{second}"


def _told(libraries: dict[str, str]) -> str:
    shown = []
    for name, version in sorted(libraries.items()):
        source = f" {cite(SOFTWARE[name])}" if name in SOFTWARE else ""
        shown.append(f"{name} {version}{source}")
    return listed(shown)


def again(run: Finished) -> str:
    """Where everything is that makes it again."""
    digest = run.metrics.get("content_digest")
    seals = f" The store's content digest is {str(digest)[:12]}…." if digest else ""
    lock = f" with the versions in `{LOCK}`" if run.lock else ""
    what = (
        "`slicecache explain` on this run folder" if run.verb == "explain" else f"`{CONFIG}` in this folder"
    )
    return (
        f"The same numbers come of {what}{lock}; `slicecache report` makes report, "
        f"figures, "
        f"tables and this text again from the folder alone.{seals} Availability of data and code: {TO_FILL}."
    )


def computed(run: Finished) -> str:
    """Both."""
    return f"{versions(run)}\n\n{again(run)}"
