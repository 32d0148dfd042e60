"""The page on heads names every kind and every option with its default."""

import re
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from aggregate.heads.base import HeadBase
from aggregate.heads.custom import CustomHeadSpec
from aggregate.heads.registry import HEADS, HeadSpec

PAGE = (Path(__file__).parents[2] / "docs" / "heads.md").read_text()
ROWS = {kind: rest.split(" | ") for kind, rest in re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE, re.MULTILINE)}
OURS = {kind.model_fields["kind"].default: kind for kind in HEADS if kind is not CustomHeadSpec}


def test_every_head_has_a_row():
    assert set(ROWS) == set(OURS)


@pytest.mark.parametrize("kind", OURS)
def test_every_option_is_listed_with_its_default(kind):
    listed = dict(re.findall(r"`(\w+): (.*?)`", ROWS[kind][1]))
    fields = OURS[kind].model_fields
    own = {name for name in fields if name not in HeadBase.model_fields}
    assert set(listed) == {name for name in own if fields[name].default is not None}
    asked = {name: yaml.safe_load(value) for name, value in listed.items()}
    adapter = TypeAdapter(HeadSpec)
    assert adapter.validate_python({"kind": kind, **asked}) == adapter.validate_python({"kind": kind})


def test_the_example_reads_as_it_stands():
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert TypeAdapter(HeadSpec).validate_python(yaml.safe_load(block)["head"]).kind == "smap"
