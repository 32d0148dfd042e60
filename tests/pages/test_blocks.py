"""Every code block of README and docs runs, or says why not; what it types the real command line takes."""

import re
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from page_blocks import AFTER_THE_DEMO, DOCS, FROM_NOTHING, PAGES, ROOT, all_blocks, blocks_of
from typer.core import TyperCommand

import slicecache
from cache_schema.common.pipeline_file import SECTIONS
from cache_schema.common.pipeline_file import load_pipeline as load

BLOCKS = all_blocks()
CODE = {"python", "console", "bash", "sh", "yaml"}
OTHERS = {
    "git",
    "pip",
    "python",
    "python3",
    "cd",
    "",
    "mkdir",
    "make",
    "export",
    "aws",
    "rsync",
    "podman",
    "apptainer",
}
"""Programs beside ours that pages type; blocks that need one are not run."""


def typed() -> Iterator[Any]:
    for block in BLOCKS:
        if block.language == "console":
            for words in block.commands():
                yield pytest.param(words, id=f"{block}: {' '.join(words)[:60]}")


def test_there_are_blocks_and_marks_name_tests_that_exist():
    assert len(BLOCKS) > 90
    for block in BLOCKS:
        for test in re.findall(r"tests/\S+\.py", block.reason or ""):
            assert (ROOT / test).is_file(), f"{block} names {test}"


def test_what_is_not_marked_is_on_a_page_that_runs():
    """Such a page is run from top to bottom by `test_pages_run.py`."""
    run = {block.page for block in BLOCKS if block.runs}
    assert run == {*FROM_NOTHING, *AFTER_THE_DEMO}


def test_every_page_is_in_the_navigation():
    listed = re.findall(r"^(?:.*<)?([\w./-]+)>?$", (DOCS / "index.md").read_text(), re.MULTILINE)
    for page in PAGES:
        place = page.relative_to(DOCS).as_posix() if page.is_relative_to(DOCS) else f"../{page.name}"
        assert place.removesuffix(".md") in [*listed, "index"], f"{page}: into a list of docs/index.md"


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_says_what_it_is(block):
    """What is typed is a console block; what is not code shows output or a formula, and types nothing."""
    assert block.language in CODE | {"", "{toctree}"}
    if block.language == "":
        assert not re.search(r"^(\$ |slicecache |import |pip )", block.text, re.MULTILINE)
    if block.language == "python":
        compile(block.text, str(block), "exec")
    if block.language in ("bash", "sh"):
        assert not re.search(r"^slicecache ", block.text, re.MULTILINE), "typed: a console block, with $"
        subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)


@pytest.mark.parametrize("words", list(typed()))
def test_the_real_command_line_takes_it(words, monkeypatch, capsys):
    """Read to the last option by the command itself; only the verb is not called."""
    if Path(words[0]).name != "slicecache":
        known(words)
        return
    called: list[dict[str, Any]] = []
    monkeypatch.setattr(TyperCommand, "invoke", lambda self, context: called.append(context.params))
    assert slicecache.guarded(slicecache.cli.main, words[1:]) == 0, capsys.readouterr().err
    assert len(called) == 1


def known(words: list[str]) -> None:
    """Another program: scripts are there with these options, targets of make exist."""
    assert Path(words[0]).name in OTHERS, words
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(words[1:]) <= set(targets)
    if words[0].startswith("python") and words[1].startswith("benchmarks/"):
        script = (ROOT / words[1]).read_text()
        for option in (word for word in words[2:] if word.startswith("--")):
            assert f'"{option}"' in script, f"{words[1]} has no {option}"


def given_values() -> Iterator[Any]:
    for block in BLOCKS:
        if block.language == "console":
            for words in block.commands():
                for before, value in pairwise(words):
                    if before == "--set" and value.partition(".")[0] in SECTIONS:
                        yield pytest.param(value, id=f"{block}: {value}")


@pytest.mark.parametrize("value", list(given_values()))
def test_what_is_set_is_a_key_of_the_models(value, tmp_path):
    """Laid over the shipped pipeline, it is still one."""
    from aggregate.config.section import read_aggregate_section
    from extract.planning.config import ExtractSection

    pipeline = load(ROOT / "pipeline.yaml", [value])
    read_aggregate_section(pipeline)
    pipeline.section("extract", ExtractSection)


def test_verbs_that_pages_name_in_a_sentence_exist():
    groups = {"cache", "backbone"}
    for page in PAGES:
        for words in re.findall(r"`slicecache ([a-z]+)(?: ([a-z]+))?[^`]*`", page.read_text()):
            assert words[0] in slicecache.COMMANDS, f"{page.name}: slicecache {words[0]}"
            if words[0] in groups and words[1]:
                assert words[1] in known_members(words[0]), f"{page.name}: slicecache {' '.join(words)}"


def known_members(group: str) -> set[str]:
    context = slicecache.cli.make_context("slicecache", [], resilient_parsing=True)
    return set(slicecache.cli.get_command(context, group).list_commands(context))


def test_a_misspelt_option_would_be_seen(capsys):
    assert slicecache.guarded(slicecache.cli.main, ["train", "a.yaml", "--shufle-labels", "3"]) == 2
    assert "shuffle-labels" in capsys.readouterr().err


def test_a_block_is_found_with_its_mark(tmp_path):
    page = ROOT / "docs" / "made-up.md"
    text = "# A\n<!-- not run: needs a GPU -->\n```console\n$ slicecache run a.yaml \\\n    --json  # all\n"
    text += "what it says\n```\n"
    text += "```yaml\n# a.yaml\nrun: {folder: r}\n```\n"
    place = tmp_path / page.name
    place.write_text(text)
    console, config = blocks_of(place)
    assert (console.line, console.reason) == (3, "not run: needs a GPU")
    assert list(console.commands()) == [["slicecache", "run", "a.yaml", "--json"]]
    assert (config.file, config.reason) == ("a.yaml", None)
    assert yaml.safe_load(config.text) == {"run": {"folder": "r"}}
