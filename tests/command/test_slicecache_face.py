"""`import slicecache as sc`: light, listed, and every name is there with a docstring that shows its use."""

import json
import operator
import subprocess
import sys
import textwrap
import types
from importlib.metadata import version
from pathlib import Path

import pytest

import slicecache as sc
from cache_schema.common.lazy_names import lazy_names

ROOT = Path(__file__).parents[2]


def test_the_import_brings_nothing_heavy() -> None:
    code = "import sys, json, slicecache; dir(slicecache); print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert not loaded & {"numpy", "torch", "pandas", "zarr", "sklearn", "pydantic", "h5py"}


def test_dir_lists_the_names() -> None:
    assert dir(sc) == sorted(sc.PUBLIC_NAMES)
    assert {"open", "train", "ablate", "detect", "predict", "HeadClassifier"} <= set(dir(sc))


def every_name() -> dict[str, str]:
    """Dotted name -> place, those of namespaces too."""
    found: dict[str, str] = {}
    for name, place in sc.PUBLIC_NAMES.items():
        below = {f"{name}.{inner}": at for inner, at in place.items()} if isinstance(place, dict) else {}
        found |= below or {name: place}
    return found


@pytest.mark.parametrize("name", sorted(every_name()))
def test_every_name_resolves_and_shows_its_use(name: str) -> None:
    found = operator.attrgetter(name)(sc)
    assert operator.attrgetter(name)(sc) is found
    assert found.__doc__
    assert ">>> " in found.__doc__, f"{name} has no example"


def test_type_checkers_see_the_same_names() -> None:
    """The imports for type checkers are the table once more: PEP 562 hides names from them."""
    source = (ROOT / "slicecache.py").read_text()
    for name, place in every_name().items():
        module, _, attribute = place.partition(":")
        *above, last = name.split(".")
        seen = f"from {module} import {attribute} as {'_' if above else ''}{last}\n" in source
        assert not above or f"{last} = staticmethod(_{last})" in source, name
        assert seen or f"from {module} import {attribute}\n" in source, name


def test_a_namespace_imports_its_names_when_they_are_used() -> None:
    get, listed = lazy_names("made.up", {"laws": {"wrap": "textwrap:wrap", "absent": "textwrap:absent"}})
    assert listed() == ["laws"]
    assert dir(get("laws")) == ["absent", "wrap"]
    assert get("laws").wrap is textwrap.wrap
    for name in ("absent", "rwap"):
        with pytest.raises(AttributeError, match=name):
            getattr(get("laws"), name)


def test_the_laws_are_a_namespace() -> None:
    assert "check_detector" in dir(sc.testing)
    assert isinstance(sc.testing, types.ModuleType)


def test_help_lists_every_name_and_where_to_read_on() -> None:
    said = sc.__doc__ or ""
    results = [name for name in sc.PUBLIC_NAMES if name.endswith("Result")]
    assert [name for name in sc.PUBLIC_NAMES if name not in said] == results
    for each in (*sc.PUBLIC_NAMES["testing"], "README.md", "docs/tutorial.md", "docs/reference.md", ">>> "):
        assert each in said
    assert all((ROOT / page).is_file() for page in ("docs/tutorial.md", "docs/reference.md"))


def test_the_version_is_told() -> None:
    assert sc.__version__ == version("slicecache")


@pytest.mark.parametrize(
    ("name", "hint"), [("trian", "; did you mean 'train'?"), ("zzz", ""), ("__trian", "")]
)
def test_whoever_asks_for_a_name_that_is_not_there_is_told_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(AttributeError) as error:
        getattr(sc, name)
    assert str(error.value) == f"module 'slicecache' has no attribute {name!r}{hint}"


@pytest.mark.parametrize("name", sorted(sc.PUBLIC_NAMES["testing"]))
def test_laws_that_hold_say_nothing_and_that_is_written_down(name: str) -> None:
    assert "None, which says that every law was kept" in getattr(sc.testing, name).__doc__
