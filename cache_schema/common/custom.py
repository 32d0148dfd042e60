"""Parts from outside: `kind: custom, target: "package.module:Name", options: {...}`, or the object itself.

A target is text wherever it is stored, and text alone imports nothing. It becomes an object only if
somebody permitted it in this process: by giving a pipeline file that names it (`permit_targets`), by
handing the object over in Python (`give`), or by saying `--allow-custom` (`permit`). A store or a bundle
never permits its own targets.
"""

import functools
import hashlib
import importlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from cache_schema.common.errors import ConfigError
from cache_schema.common.strict import Strict

PATTERN = r"^[A-Za-z_]\w*(\.\w+)*:[A-Za-z_<][\w.<>]*$"
"""`package.module:Name`; `<locals>` stands in the name of what a function defined."""

OBJECT = ".<object>"
"""Ends the target of an object, so that it does not stand for its class."""

_given: dict[str, Any] = {}
_permitted: set[str] = set()


def target_of(part: Any) -> str:
    """The text that stands for an object: where its class or function was defined, and its name.

    Raises:
        ConfigError: If it has neither, as a `functools.partial` has not.
    """
    named = part if hasattr(part, "__qualname__") else type(part)
    if isinstance(part, functools.partial):
        raise ConfigError(f"{part!r} has no name to store; give the class, and its arguments as `options`")
    # An object's class is another part than the object: an import would find the class.
    return f"{named.__module__}:{named.__qualname__}{'' if named is part else OBJECT}"


def give(part: Any) -> str:
    """Hand an object over; returns the target that stands for it from now on in this process.

    A name that an import could find stands for the newest object. Two functions that one other function
    made, or two lambdas, share a name that no import finds; the second is told apart by a number.
    """
    target = name = target_of(part)
    number = 1
    while "<" in name and target in _given and _given[target] is not part:
        number += 1
        target = f"{name}.<{number}>"
    _given[target] = part
    return target


def stored_name(target: str) -> str:
    """A target without what tells objects of one name apart in this process: equal in every process."""
    return re.sub(r"(\.<object>)?(\.<\d+>)?$", "", target)


def permit(target: str) -> None:
    """Allow that this target is imported when a part is built from it."""
    _permitted.add(target)


def permit_targets(data: Any, folder: Path) -> None:
    """Permit every target that the raw data of a pipeline file names, and make its folder importable.

    The folder comes last on the path, so that nothing in it stands in for an installed module.
    Processes that are spawned from here inherit the path.
    """
    found = sorted(set(targets_in(data)))
    for target in found:
        permit(target)
    if found and str(folder) not in sys.path:
        sys.path.append(str(folder))


def targets_in(data: Any, key: str = "") -> Iterator[str]:
    """Every value of a key `target` (or a dotted path that ends in it) that could be one."""
    if isinstance(data, Mapping):
        for name, value in data.items():
            yield from targets_in(value, str(name))
    elif isinstance(data, list | tuple):
        for value in data:
            yield from targets_in(value, key)
    elif isinstance(data, str) and key.rpartition(".")[2] == "target" and ":" in data:
        yield data


def resolve(target: str, what: str = "part") -> Any:
    """The object behind a target: what was given, else what an import of a permitted target finds.

    Args:
        target: As it stands in a specification.
        what: Names the part in errors, e.g. `head`.

    Raises:
        ConfigError: If nobody permitted it, or there is no such module or name.
    """
    if target in _given:
        return _given[target]
    if target not in _permitted:
        raise ConfigError(
            f"the {what} is custom, {target!r}, and loading it would run code from outside; pass the class "
            "itself in Python, or say --allow-custom if you trust that code"
        )
    module, _, name = target.partition(":")
    part = functools.reduce(_attribute, name.split("."), _imported(module, target))
    print(f"slicecache: imported {target} from {_file_of(module)}", file=sys.stderr)
    _given[target] = part
    return part


def _imported(module: str, target: str) -> Any:
    """The target's module.

    Raises:
        ConfigError: If it is not there; what goes wrong inside it is its author's to see.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(f"{error.name}.")):
            raise
        raise ConfigError(
            f"there is no module {error.name!r} for target {target!r}; it is looked for among installed "
            "packages and in the folder of the pipeline file (with --allow-custom in the current folder)"
        ) from error


def _attribute(holder: Any, name: str) -> Any:
    """One step of a target's name.

    Raises:
        ConfigError: If the holder has no such name.
    """
    if not hasattr(holder, name):
        raise ConfigError(f"{getattr(holder, '__name__', holder)!r} has no {name!r}")
    return getattr(holder, name)


def _file_of(module: str) -> str:
    """Where an imported module lies, for people."""
    return str(getattr(sys.modules[module], "__file__", None) or module)


def code_digest(target: str) -> str:
    """SHA-256 of the file that defines a part: what was computed with it hangs on that; empty without a file.

    Raises:
        ConfigError: As `resolve`.
    """
    resolve(target)
    file = getattr(sys.modules.get(target.partition(":")[0]), "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file and Path(file).is_file() else ""


def read_part_target(value: Any) -> Any:
    """Read an object in place of its target."""
    return value if isinstance(value, str) else give(value)


PartTarget = Annotated[str, BeforeValidator(read_part_target), Field(pattern=PATTERN)]


class CustomSpec(Strict):
    """A part of somebody else's; each registry derives its own from this."""

    kind: Literal["custom"] = "custom"
    target: PartTarget
    """`package.module:Name` of a class or function; in Python also the object itself, e.g.
    `my_parts:MyPart`."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Passed to it by name; what YAML can say, so that it can be stored, e.g. `{hidden: 16}`."""

    @field_validator("options")
    @classmethod
    def _plain(cls, options: dict[str, Any]) -> dict[str, Any]:
        try:
            json.dumps(options, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"options are numbers, text, lists and mappings ({error})") from error
        return options


def with_targets(value: Any, key: str = "") -> Any:
    """Raw settings with every object in them handed over, and as YAML would name it.

    Args:
        value: Mappings, lists and plain values, and objects among them.
        key: What it stands under; below `target` an object is its target, elsewhere a whole specification.
    """
    if isinstance(value, Mapping):
        return {name: with_targets(inner, str(name)) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [with_targets(inner, key) for inner in value]
    if key.rpartition(".")[2] == "target" and value is not None:
        return read_part_target(value)
    return read_part(value)


def read_part(value: Any) -> Any:
    """Read a class, function or object in place of a specification; for a registry's `BeforeValidator`."""
    if value is None or isinstance(value, Mapping | str | int | float | list | tuple | Strict):
        return value
    return {"kind": "custom", "target": give(value)}
