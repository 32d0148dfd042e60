"""The pipeline file that `init` writes: what was answered, and in comments what else may stand there."""

import os
from collections.abc import Callable
from pathlib import Path

from cache_schema.common.terminal.visible import label
from cache_schema.words.yaml_words import in_line
from extract.init.answers import Answers

LONGEST_REASON = 80
"""Characters in a comment."""
Near = Callable[[str], str]
"""A path as the file writes it."""

OTHER_TARGETS = """\
  # What is predicted may be something else (docs/targets.md):
  #   target: {column: DX, classes: {CN: [CN], MCI: [EMCI, LMCI], AD: [AD]}}    several classes, or merged
  #   target: {column: stage, task: ordinal}                                    classes in an order
  #   target: {column: age, task: regression}                                   a number
  #   target: {column: months, task: survival, event: converted}                a time to an event
"""


def pipeline_text(answers: Answers, file: Path, positive: tuple[str, str] | None = None) -> str:
    """The file's text.

    Args:
        answers: Paths in them are relative to the working directory.
        file: Where it will lie: paths in it are relative to its folder.
        positive: The positive one of the target's two classes, and why it is.
    """
    near = _near(file)
    store = answers.images.place if answers.images.kind == "store" else f"{answers.folder}/cache.zarr"
    sections = [
        _head(file.name, answers),
        _key(
            "run", {"folder": near(answers.folder)}, "reports, predictions, bundles: a folder for each verb"
        ),
        _key("cache", {"store": near(store)}, "embeddings, written once, read ever after", end="\n"),
        *([] if answers.backbone is None else [_extract(answers, near)]),
        _aggregate(answers, near, positive),
    ]
    return "\n".join(sections)


def _head(name: str, answers: Answers) -> str:
    """What the file is for, in commands."""
    verbs = {
        "plan": "what will be embedded, what cannot be and why, how large and how long",
        "run": "embed, train, report; killed at any time, the same command goes on",
    }
    if answers.backbone is None:
        verbs = {"train": "train, compare, report"}
    lines = [f"#   {f'slicecache {verb} {name}':40} {words}" for verb, words in verbs.items()]
    return "\n".join(
        [
            "# Written by `slicecache init`. What is not said has a default; every key: `slicecache init "
            "--reference`.",
            *lines,
        ]
    )


def _extract(answers: Answers, near: Near) -> str:
    """The section of stage one."""
    given = answers.images.input
    root = next(iter(given))
    return "\n".join(
        [
            "extract:",
            _key("  input", {**given, root: near(given[root])}),
            _key("  backbone", answers.backbone, "frozen; `slicecache backbone list` has others"),
            "  # backbone: {kind: untrained, size: tiny}   # no weights, no internet: to try things out",
            _key(
                "  tokens",
                ["cls", "patch_mean"],
                "add patches for `slicecache detect`: later they need another store",
            ),
            "  # preset: letterbox        # how a slice becomes pixels (docs/presets.md)",
            "  # slices: {kind: every, step_mm: 4}   # by default every slice with foreground",
            "  # device: cuda             # by default a GPU where there is one",
            "  # batch_size: 64           # slices per forward pass; halved when memory runs out",
            "",
        ]
    )


def _aggregate(answers: Answers, near: Near, positive: tuple[str, str] | None) -> str:
    """The section of stage two."""
    usual = {"participant": "participant_id", "session": "session_id"}
    join = {role: name for role, name in answers.join.items() if name != usual[role]}
    target = answers.target
    said = {"column": target.name}
    if not target.has_classes:
        said["task"] = "regression"
    which = ""
    if positive is not None:
        said["positive"] = positive[0]
        why = label(positive[1], LONGEST_REASON)
        which = f"; positive is the class that is looked for ({why}): if that is the other, name it"
    arrays = answers.images.tokens
    token = "cls" if not arrays or "cls" in arrays else arrays[0]
    return "\n".join(
        [
            "aggregate:",
            _key("  cohort", near(answers.labels)),
            *([_key("  join", join)] if join else []),
            _key("  target", said, f"{target.words()}{which}"),
            OTHER_TARGETS.rstrip("\n"),
            _key("  tokens", token, f"this store has {', '.join(arrays)}" if arrays else ""),
            "  head: {kind: attention}    # docs/which-head.md; or recipe: dinoatten3d, as published",
            "  folds: {n: 5, repeats: 10, seed: 0}",
            "  # train: {device: cuda}     # by default the CPU, where a head takes seconds",
            "  # confounds: [age, sex]    # by default age, sex and site where the table has them",
            '  # where: "age >= 55"       # who takes part',
            "",
        ]
    )


def _key(name: str, value: object, comment: str = "", end: str = "") -> str:
    """One line of the file."""
    line = f"{name}: {in_line(value)}"
    return f"{line:50} # {comment}{end}" if comment else line + end


def _near(file: Path) -> Near:
    """Turns a path of the working directory into one of the file's folder; URLs and absolute paths stay."""
    folder = file.absolute().parent

    def near(place: str) -> str:
        expanded = os.path.expanduser(place)
        if "://" in place or os.path.isabs(expanded):
            return place
        return Path(os.path.relpath(expanded, folder)).as_posix()

    return near
