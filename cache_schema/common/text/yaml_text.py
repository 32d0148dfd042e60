"""How YAML is read, wherever it comes from: plain values only, every key once, and an end in sight.

What YAML can do beyond mappings, lists, text and numbers has no place in a pipeline: tags, timestamps
(which stay the text that they are), several documents. Aliases and merge keys are read, but what they
expand to is counted before anything is built.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from cache_schema.common.errors import ConfigError

MOST_BYTES = 256 * 1024
"""Of one file."""
MOST_NODES = 30_000
"""Keys and values, also once aliases are written out."""
DEEPEST = 50
"""Mappings and lists inside each other."""

PREFIX = "tag:yaml.org,2002:"
PLAIN_TAGS = frozenset(
    PREFIX + name for name in ("map", "seq", "str", "int", "float", "bool", "null", "merge")
)
KEY_TAGS = frozenset(PREFIX + name for name in ("str", "int", "float", "bool", "merge"))

ODD = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
"""What escapes such as `"\\0"` can write: no file name and no terminal takes it."""


class PlainLoader(yaml.SafeLoader):
    """A safe loader that guesses plain values only, and stops where there are too many."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as the base class has it
        letter: [(tag, pattern) for tag, pattern in found if tag in PLAIN_TAGS]
        for letter, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    depth = nodes = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose one node, counting how deep it lies and how many there are."""
        self.depth, self.nodes = self.depth + 1, self.nodes + 1
        if self.depth > DEEPEST:
            raise self._stop(f"more than {DEEPEST} mappings and lists are inside each other")
        if self.nodes > MOST_NODES:
            raise self._stop(f"more than {MOST_NODES} values")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def _stop(self, problem: str) -> yaml.MarkedYAMLError:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        return yaml.composer.ComposerError(None, None, problem, event.start_mark)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """Build one value; what a tag promises and a text is not ends in a sentence of the parser's kind."""
        try:
            value = super().construct_object(node, deep)
            if isinstance(value, int) and abs(value) >= 2**63:
                raise OverflowError
            return value
        except (ValueError, OverflowError, LookupError, AttributeError) as error:
            problem = f"{str(node.value)[:50]!r} cannot be read as {node.tag.removeprefix(PREFIX)[:20]}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from error


def read_yaml(path: Path, what: str) -> Any:
    """The value of a YAML file.

    Args:
        path: UTF-8, with or without a byte-order mark.
        what: Begins sentences, e.g. `the pipeline 'a.yaml'`.

    Raises:
        ConfigError: If it cannot be read, is larger than `MOST_BYTES`, or as `parse_yaml`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {what}: {error.strerror}") from error
    except ValueError as error:  # a NUL in the path
        raise ConfigError(f"cannot read {what}: that is no path") from error
    try:
        return parse_yaml(data.decode("utf-8-sig"), what, len(data))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{what} is not UTF-8 text: save it as such") from error


def parse_yaml(text: str, what: str, size: int | None = None) -> Any:
    """The value of a YAML text.

    Args:
        text: One document, or nothing, which is None.
        what: Begins sentences.
        size: In bytes, where that is known.

    Raises:
        ConfigError: If it is not YAML, has a key twice, a tag, a key that is neither text nor a number,
            more than one document, or is larger than anybody writes by hand.
    """
    if (len(text) if size is None else size) > MOST_BYTES:
        raise ConfigError(f"{what} is larger than {MOST_BYTES // 1024} KiB, more than a pipeline can mean")
    try:
        loader = PlainLoader(text)
        root = loader.get_single_node()
        if root is None:
            return None
        _check(root, what)
        return loader.construct_document(root)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            f"{what} is not YAML: line {line} holds the control character {chr(int(error.character))!r}"
        ) from error
    except yaml.MarkedYAMLError as error:
        raise ConfigError(f"{what} is not YAML: {_problem(error, text)}") from error


def _problem(error: yaml.MarkedYAMLError, text: str) -> str:
    """What the parser stumbled over, and where, in one line."""
    mark = error.problem_mark or error.context_mark
    problem = " ".join(str(error.problem or error.context).split())[:300]
    if mark is None:
        return problem
    where = f"line {mark.line + 1}, column {mark.column + 1}"
    if "but found another document" in problem:
        return f"a second document begins on line {mark.line + 1}; one is expected"
    if re.match(r"[ ]*\t", text.splitlines()[mark.line] if mark.line < len(text.splitlines()) else ""):
        return f"line {mark.line + 1} is indented by a tab; use spaces"
    return f"{problem} ({where})"


def _check(root: yaml.Node, what: str) -> None:
    """Refuse what was read but cannot be meant, before anything is built of it.

    Raises:
        ConfigError: As `parse_yaml`.
    """
    for node in _nodes(root, what):
        if node.tag not in PLAIN_TAGS:
            tag = node.tag.replace(PREFIX, "!!")[:100]
            raise ConfigError(f"{what}, line {_line(node)}: the tag {tag!r} is not read; write plain values")
        if isinstance(node, yaml.MappingNode):
            _check_keys(node, what)
        elif isinstance(node, yaml.ScalarNode) and (odd := ODD.search(node.value)):
            raise ConfigError(f"{what}, line {_line(node)}: {odd[0]!r} is no character of a text")
    _check_size(root, what)


def _nodes(root: yaml.Node, what: str) -> Iterator[yaml.Node]:
    """Every node once."""
    seen, left = {id(root)}, [root]
    while left:
        node = left.pop()
        yield node
        for child in _children(node):
            if id(child) not in seen:
                seen.add(id(child))
                left.append(child)


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [side for pair in node.value for side in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _check_keys(node: yaml.MappingNode, what: str) -> None:
    """Every key is text or a number, and stands once: also `1` beside `"1"`, which mean the same to us."""
    first: dict[str, yaml.Node] = {}
    for key, _ in node.value:
        if key.tag not in KEY_TAGS:
            raise ConfigError(f"{what}, line {_line(key)}: a key must be text or a number")
        other = first.setdefault(str(key.value), key)
        if other is not key:
            raise ConfigError(
                f"{what} has the key {key.value[:100]!r} twice, on line {_line(other)} and on line "
                f"{_line(key)}: keep one of them"
            )


def _check_size(root: yaml.Node, what: str) -> None:
    """Count what aliases expand to; one that contains itself never ends."""
    sizes: dict[int, int] = {}
    opened: set[int] = set()
    left = [root]
    while left:
        node = left[-1]
        if id(node) in sizes:
            left.pop()
        elif id(node) in opened:
            left.pop()
            sizes[id(node)] = 1 + sum(sizes[id(child)] for child in _children(node))
            if sizes[id(node)] > MOST_NODES:
                raise ConfigError(
                    f"{what}, line {_line(node)}: more than {MOST_NODES} values once aliases are written out"
                )
        else:
            opened.add(id(node))
            for child in _children(node):
                if id(child) in opened and id(child) not in sizes:
                    raise ConfigError(f"{what}, line {_line(node)}: an alias stands inside what it names")
                left.append(child)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def in_one_line(value: Any) -> str:
    """A value as one types it: `{participant: PTID, path: file}`, which `parse_yaml` reads as the same."""
    written = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=1e9)
    return str(written).removesuffix("\n").removesuffix("\n...")
