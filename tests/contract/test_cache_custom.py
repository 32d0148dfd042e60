"""Custom parts: text imports nothing until somebody permits it."""

import sys

import pytest
from pydantic import BaseModel

from cache_schema.common import custom
from cache_schema.common.custom import CustomSpec, give, permit, permit_targets, read_part, resolve
from cache_schema.common.errors import ConfigError
from cache_schema.common.pipeline_file import load_pipeline


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of a stranger's beside a pipeline file, and a process that has seen neither."""
    (tmp_path / "strange_parts.py").write_text("class Part:\n    class Inner:\n        pass\n")
    monkeypatch.setattr(custom, "_given", {})
    monkeypatch.setattr(custom, "_permitted", set())
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("strange_parts", None)


def test_text_alone_imports_nothing(module):
    sys.path.append(str(module))
    spec = CustomSpec(target="strange_parts:Part")
    with pytest.raises(ConfigError, match="--allow-custom"):
        resolve(spec.target, "head")
    assert "strange_parts" not in sys.modules
    permit(spec.target)
    assert resolve(spec.target).__name__ == "Part"


@pytest.mark.parametrize(
    "aggregate",
    [
        "{head: {kind: custom, target: 'strange_parts:Part'}}",
        "{ablate: {configurations: {mine: {head.kind: custom, head.target: 'strange_parts:Part'}}}}",
        "{detect: {detectors: [{kind: custom, target: 'strange_parts:Part'}]}}",
    ],
)
def test_a_pipeline_file_permits_what_it_names(module, capsys, aggregate):
    (module / "p.yaml").write_text(f"aggregate: {aggregate}\n")
    load_pipeline(module / "p.yaml")
    assert "strange_parts" not in sys.modules
    assert resolve("strange_parts:Part").__name__ == "Part"
    assert "strange_parts:Part" in capsys.readouterr().err
    assert sys.path[-1] == str(module)
    with pytest.raises(ConfigError, match="custom"):
        resolve("strange_parts:Part.Inner")


def test_overrides_are_permitted_too(module):
    (module / "p.yaml").write_text("aggregate: {}\n")
    load_pipeline(module / "p.yaml", ["aggregate.head={kind: custom, target: 'strange_parts:Part.Inner'}"])
    assert resolve("strange_parts:Part.Inner").__name__ == "Inner"


@pytest.mark.parametrize(
    ("target", "said"),
    [("no_such_module:A", "no module 'no_such_module'"), ("strange_parts:B", "has no 'B'")],
)
def test_what_is_not_there_is_named(module, target, said):
    permit_targets({"head": {"target": target}}, module)
    with pytest.raises(ConfigError, match=said):
        resolve(target)


def test_an_error_inside_the_module_is_its_authors(module):
    (module / "strange_parts.py").write_text("import no_such_thing_at_all\n")
    permit_targets({"target": "strange_parts:Part"}, module)
    with pytest.raises(ModuleNotFoundError, match="no_such_thing_at_all"):
        resolve("strange_parts:Part")


def test_an_object_stands_for_itself(module):
    class Mine:
        pass

    spec = CustomSpec.model_validate(read_part(Mine))
    assert resolve(spec.target) is Mine
    assert CustomSpec(target=Mine).target == spec.target == give(Mine)


def test_options_are_what_yaml_can_say():
    assert CustomSpec(target="a:b", options={"widths": [1, 2]}).options == {"widths": [1, 2]}
    for value in (object(), float("nan")):
        with pytest.raises(ValueError, match="numbers, text, lists and mappings"):
            CustomSpec(target="a:b", options={"what": value})


def test_an_object_is_not_its_class():
    class Mine:
        def __call__(self):
            pass

    first, second = Mine(), Mine()
    assert resolve(give(Mine)) is Mine
    assert len({give(Mine), give(first), give(second)}) == 3
    assert give(first) == give(first)
    assert resolve(give(second)) is second


def test_specifications_pass_through():
    class Other(BaseModel):
        pass

    assert read_part({"kind": "mean"}) == {"kind": "mean"}
    assert read_part(None) is None
    assert read_part(CustomSpec(target="a:b")) == CustomSpec(target="a:b")


def test_an_object_without_a_name_is_refused():
    import functools

    with pytest.raises(ConfigError, match="options"):
        give(functools.partial(print, 1))


@pytest.mark.parametrize("target", ["a", "a:", ":b", "a/b:c", "../a:b", "a:b()", "a b:c"])
def test_a_malformed_target_is_refused(target):
    with pytest.raises(ValueError, match="pattern"):
        CustomSpec(target=target)
