"""The reference page of pipeline files: each key, what may stand there, its default, words and an example.

A heading for each place that holds a mapping, by the path of its keys; a union has a table of what all its
kinds share, and one for each kind. A model that several keys hold is written out at the first.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from cache_schema.common.text.places import branches
from cache_schema.words.annotations import choices, tells_apart
from cache_schema.words.examples import default_of, example
from cache_schema.words.field_words import EXAMPLE, description, summary
from cache_schema.words.schema import Sections, pipeline_schema
from cache_schema.words.type_words import type_words
from cache_schema.words.yaml_words import in_line

HEAD = """# Every key of a pipeline file

Made from the models by `slicecache init --reference`; a test holds this page to them (`make docs-reference`
writes it anew). `slicecache init --schema > pipeline.schema.json` gives the same as a JSON schema, by which
editors complete and check, most of them where `# yaml-language-server: $schema=pipeline.schema.json` is a
file's first line. **required** stands where there is no default; a default of `null` means that the key is
not said.
`site` is no section, but the file that says what a cluster wants ([cluster.md](cluster.md#the-site-file)).
"""
TABLE = "| key | what may stand there | default | what it is | example |\n|---|---|---|---|---|"
Model = type[BaseModel]


@dataclass(frozen=True, slots=True)
class Spot:
    """A place that holds a mapping."""

    path: str
    models: tuple[Model, ...]


def reference_page(sections: Sections) -> str:
    """The page, as Markdown.

    Args:
        sections: Of the file, by name.
    """
    spots = tuple(_spots([Spot(name, (model,)) for name, model in sections.items()]))
    page = Page(pipeline_schema(sections)["$defs"], spots)
    return "\n".join([HEAD, *(line for spot in spots for line in page.written(spot))])


def _spots(roots: Sequence[Spot]) -> Iterator[Spot]:
    """Each group of models, or one that has all of them, at the shortest path that leads to it.

    What a group holds stands right after it.
    """
    left = list(roots)
    places: dict[tuple[Model, ...], str] = {}
    for spot in left:  # grows while it is walked
        if not any(set(spot.models) <= set(written) for written in places):
            places[spot.models] = spot.path
            left += _held(spot)
    yield from _in_order(roots, places)


def _in_order(spots: Iterable[Spot], places: Mapping[tuple[Model, ...], str]) -> Iterator[Spot]:
    """Those that have their place here."""
    for spot in spots:
        if places.get(spot.models) == spot.path:
            yield spot
            yield from _in_order(_held(spot), places)


def _held(spot: Spot) -> Iterator[Spot]:
    """What the fields of a place hold."""
    found: dict[tuple[Model, ...], str] = {}
    for model in spot.models:
        for name, each in model.model_fields.items():
            if models := _models(each.annotation):
                found.setdefault(models, name)
        if models := _models(vars(model).get("__annotations__", {}).get("__pydantic_extra__")):
            found.setdefault(models, "NAME")
    yield from (Spot(f"{spot.path}.{name}", models) for models, name in found.items())


def _models(annotation: Any) -> tuple[Model, ...]:
    """The models that an annotation names, each once."""
    return tuple(dict.fromkeys(model for _, model in branches(annotation)))


@dataclass(frozen=True, slots=True)
class Page:
    """What rows are made of."""

    definitions: Mapping[str, Any]
    spots: tuple[Spot, ...]
    tables: dict[Model, dict[str, str]] = field(default_factory=dict)
    """Rows of the models that were looked at."""

    def written(self, spot: Spot) -> Iterator[str]:
        """A place: its heading, its tables."""
        depth = min(4, 2 + spot.path.count("."))
        yield f"\n{'#' * depth} `{spot.path}`\n"
        if len(spot.models) == 1:
            yield f"{summary(spot.models[0])}\n"
            yield from self._one(spot.models[0], spot)
            return
        rows = {model: self._rows(model) for model in spot.models}
        shared = _shared(list(rows.values()))
        if shared:
            yield from [
                "Each has these keys, and its own table says where they differ:\n",
                TABLE,
                *shared,
                "",
            ]
        for model, own in rows.items():
            yield from self._kind(model, [row for row in own.values() if row not in shared])

    def _kind(self, model: Model, rows: Sequence[str]) -> Iterator[str]:
        """One member of a union."""
        yield f"**{_called(model)}** {summary(model)}\n"
        if rows:
            yield from [TABLE, *rows, ""]

    def _one(self, model: Model, spot: Spot) -> Iterator[str]:
        """The rows of a model that stands alone, or where all of them are already."""
        rows = self._rows(model)
        for other in self.spots[: self.spots.index(spot)]:
            if len(other.models) == 1 and rows.items() < self._rows(other.models[0]).items():
                yield f"Keys as in [`{other.path}`](#{_anchor(other.path)}): {', '.join(rows)}.\n"
                return
        yield from [TABLE, *rows.values(), ""]

    def _rows(self, model: Model) -> dict[str, str]:
        """Key -> its row, without the key that tells a union's member."""
        if model not in self.tables:
            named = model.model_fields.items()
            self.tables[model] = {
                name: self._row(model, name) for name, each in named if not tells_apart(each)
            }
        return self.tables[model]

    def _row(self, model: Model, name: str) -> str:
        """One key."""
        default = default_of(model, name)
        place = self.definitions[model.__name__]["properties"][name]
        cells = [
            f"`{name}`",
            type_words(place, self._linked),
            "**required**" if default is PydanticUndefined else f"`{in_line(default)}`",
            _without_example(description(model, name)),
            f"`{name}: {in_line(example(model, name))}`",
        ]
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    def _linked(self, name: str) -> str:
        """A link to where a model is written out."""
        title = self.definitions[name]["title"]
        for spot in self.spots:
            if title in {model.__name__ for model in spot.models}:
                return f"[mapping](#{_anchor(spot.path)})"
        return "mapping"


def _shared(tables: Sequence[Mapping[str, str]]) -> list[str]:
    """Of every key that all tables have, the row that most of them have."""
    names = [name for name in tables[0] if all(name in table for table in tables)]
    return [Counter(table[name] for table in tables).most_common(1)[0][0] for name in names]


def _called(model: Model) -> str:
    """How a file says which member of a union it means."""
    for name, each in model.model_fields.items():
        if tells_apart(each):
            return f"`{name}: {choices(each.annotation)[0]}`"
    told = next((name for name, each in model.model_fields.items() if each.is_required()), None)
    return f"`{told}: ...`" if told else ""


def _without_example(text: str) -> str:
    """Words without what has a column of its own."""
    return re.sub(rf"[,;:]? ?(?:{EXAMPLE.pattern})", "", text)


def _anchor(path: str) -> str:
    """Of a heading, as Markdown makes it."""
    return re.sub(r"[^\w-]", "", path.lower())
