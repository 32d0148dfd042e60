"""Somebody falls out of a study, or a label is written to break the page: said, listed, and harmless."""

import csv
import json
import re
from collections.abc import Callable

from attacks.machine import ABLATE
from attacks.scene import Answer, Attack, Scene

Rows = list[list[str]]
Change = Callable[[Rows], Rows]
Check = Callable[[Scene, Answer], None]

DIAGNOSIS = 3
"""Column of the label."""


def table(scene: Scene, change: Change, where: str = "images/participants.tsv") -> None:
    """Rewrite the cohort table; `change` sees its rows without the header."""
    scene.archived("images")
    path = scene.folder / where
    with path.open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file, delimiter="\t")
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t", lineterminator="\n").writerows([head, *change(rows)])


def ids(change: Callable[[str], str], which: Callable[[str], bool] = lambda name: True) -> Change:
    """The first column, changed."""
    return lambda rows: [[change(row[0]) if which(row[0]) else row[0], *row[1:]] for row in rows]


def labels(change: Callable[[str], str], *names: str) -> Change:
    """The label of some participants, or of all, changed."""
    return lambda rows: [
        [*row[:DIAGNOSIS], change(row[DIAGNOSIS]) if not names or row[0] in names else row[DIAGNOSIS]]
        for row in rows
    ]


def number(name: str) -> str:
    """As a spreadsheet leaves it."""
    return str(int(name.removeprefix("sub-")))


def first_two(name: str) -> bool:
    return name in ("sub-01", "sub-02")


def study(change: Change, verb: str, *more: str) -> Callable[[Scene], list[str]]:
    def arrange(scene: Scene) -> list[str]:
        scene.extracted()
        table(scene, change)
        sets = [ABLATE, *more] if verb == "ablate" else more
        return [str(scene.archived("pipeline.yaml")), *(word for one in sets for word in ("--set", one))]

    return arrange


def partial(scene: Scene) -> list[str]:
    """Three of the planned volumes were not embedded yet."""
    for record in sorted((scene.extracted() / "records").rglob("*.json"))[:3]:
        record.unlink()
    return [str(scene.archived("pipeline.yaml"))]


def listed(verb: str, **reasons: int) -> Check:
    """So many of `metrics.json` have a reason that begins so (`_` for a blank); the report has them, too."""

    def check(scene: Scene, answer: Answer) -> None:
        metrics = json.loads((scene.folder / "run" / verb / "metrics.json").read_text())
        for words, n in reasons.items():
            found = [row for row in metrics["left_out"] if row["reason"].startswith(words.replace("_", " "))]
            assert len(found) == n, metrics["left_out"]
            assert all(set(row) == {"participant_id", "session_id", "volume_id", "reason"} for row in found)
        report = (scene.folder / "run" / verb / "report.html").read_text()
        assert all(words.replace("_", " ") in report for words in reasons)

    return check


def page_is_sound(verb: str) -> Check:
    """Report and index hold no markup of the label's, nothing that acts, and are not buried by it."""

    def check(scene: Scene, answer: Answer) -> None:
        run = scene.folder / "run"
        for page in (run / verb / "report.html", run / "index.html"):
            text = page.read_text(encoding="utf-8")
            assert re.findall(r"<script|<img (?!src=\"data:)", text) == []
            assert re.findall("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", text) == []
            assert ">49<" not in text
            assert (
                max(
                    map(
                        len,
                        re.sub(
                            r"<svg.*?</svg>|<pre>.*?</pre>|base64,[^\"]*", "", text, flags=re.DOTALL
                        ).splitlines(),
                    )
                )
                < 6000
            )
        json.loads((run / verb / "metrics.json").read_text())

    return check


def on_terminal(scene: Scene, answer: Answer) -> None:
    assert re.findall("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]", answer.out) == []
    page_is_sound("train")(scene, answer)


HOSTILE = {
    "a formula that does not parse": r"$\frac{$",
    "a script": "<script>alert(1)</script>",
    "a template": "{{7*7}}{% for x in y %}",
    "ten thousand characters": "x" * 10_000,
    "a right-to-left override": "pat\u202etneit",
    "an escape sequence": "pa\x1btient\x1b[31m",
    "an attribute": '"><img src=x onerror=alert(1)>',
}
PADDED = (
    "2 volumes and rows are left out whose ids differ in leading zeros only: '0?1' in the store is '1' in"
)


def left_out(
    fault: str, verb: str, change: Change, says: str, check: Check | None = None, *more: str, code: int = 0
) -> Attack:
    return Attack(fault, verb, study(change, verb, *more), says, code, check=check)


ATTACKS = [
    # ids that a spreadsheet or a person wrote otherwise
    *(
        left_out(
            "two ids as integers",
            verb,
            ids(number, first_two),
            rf"WARNING: {PADDED} participants.tsv; write the ids of participants.tsv as text with 2 digits.*"
            "left out: 2 volumes in the store, not in the table .sub-01, sub-02.; "
            "2 rows in the table, not in the store .1, 2.",
            listed(verb, in_the_store=2, in_the_table=2),
        )
        for verb in ("train", "ablate", "detect")
    ),
    left_out(
        "every id as an integer",
        "train",
        ids(number),
        "no volume of the store matches a row.*leading zeros",
        code=2,
    ),
    left_out(
        "two ids with a decimal point",
        "train",
        ids(lambda name: f"{number(name)}.0", first_two),
        "'01' in the store is '1.0' in participants.tsv",
    ),
    left_out(
        "two ids in capitals",
        "train",
        ids(str.upper, first_two),
        "differ in upper and lower case.*: 'sub-01|'01' in the store is 'SUB-01'",
    ),
    left_out(
        "two ids with another separator",
        "train",
        ids(lambda name: name.replace("-", "_"), first_two),
        "differ in separators.*'sub_01'|'01' in the store is 'sub_01'",
    ),
    left_out(
        "two ids with an invisible character",
        "detect",
        ids(lambda name: f"{name}\u200b", first_two),
        r"characters that cannot be seen only: '01' in the store is '01\\u200b'",
    ),
    *(
        left_out(
            "two ids that are one to the eye",
            verb,
            lambda rows: [*rows, ["SUB-01", *rows[1][1:]]],
            "participants.tsv has ids that differ only in case.*'SUB-01' and 'sub-01'; write each",
            code=2,
        )
        for verb in ("train", "ablate", "detect")
    ),
    left_out(
        "an id and its full-width twin",
        "train",
        lambda rows: [*rows, ["sub-\uff10\uff11", *rows[1][1:]]],
        "characters that cannot be seen: 'sub-01' and 'sub-\uff10\uff11'",
        code=2,
    ),
    # labels, rows and volumes that take no part
    *(
        left_out(
            "two labels are n/a",
            verb,
            labels(lambda _: "n/a", "sub-01", "sub-04"),
            "7 of 10 participants of the store are used; left out: 2 volumes ",
            listed(verb, extraction_failed=1),
        )
        for verb in ("train", "ablate")
    ),
    left_out(
        "two rows are missing",
        "detect",
        lambda rows: [row for row in rows if not first_two(row[0])],
        "7 of 10 participants .*2 volumes in the store, not in the table .sub-01, sub-02.",
        listed("detect", in_the_store=2, extraction_failed=1),
    ),
    left_out(
        "rows without a volume",
        "train",
        lambda rows: [*rows, *([f"x{n}", "1", "F", "patient"] for n in range(9))],
        "9 rows in the table, not in the store .x0, x1, x2 and 6 more.",
        listed("train", in_the_table=9),
    ),
    left_out(
        "where leaves out three",
        "train",
        lambda rows: rows,
        "3 volumes left out by where .sub-00, sub-01, sub-02.",
        listed("train", left_out_by_where=3),
        "aggregate.where=age > 36",
    ),
    left_out(
        "where leaves out one",
        "detect",
        lambda rows: rows,
        "1 volume left out by where .sub-08.",
        listed("detect", left_out_by_where=1),
        "aggregate.where=age < 54",
    ),
    Attack(
        "a failed volume",
        "train",
        study(lambda rows: rows, "train"),
        "WARNING: 9 of 10 planned volumes are committed .1 failed.*1 volume extraction failed .sub-09.",
        0,
        check=listed("train", extraction_failed=1),
    ),
    # a part of a store
    *(
        Attack(
            "three volumes are not embedded yet",
            verb,
            partial,
            r"WARNING: 6 of 10 planned volumes are committed \(3 are not done yet, 1 failed\).*"
            "3 volumes planned, not embedded yet",
            0,
            check=listed(verb, planned=3),
        )
        for verb in ("train", "detect")
    ),
    Attack(
        "three volumes are not embedded yet",
        "predict",
        lambda scene: [str(scene.archived("train")), (partial(scene), str(scene.extracted()))[1]],
        "no prediction for 4 volumes that were planned: 1 failed .sub-09.; 3 not done yet",
        0,
    ),
    # labels that want to be more than text
    *(
        left_out(
            f"a label is {what}",
            "train",
            labels(lambda name, word=word: word if name == "patient" else name),
            "participants",
            on_terminal,
            "aggregate.target={column: diagnosis}",
        )
        for what, word in HOSTILE.items()
    ),
    *(
        left_out(
            f"a site is {what}",
            "detect",
            labels(lambda name, word=word: word if name == "patient" else name),
            "participants",
            page_is_sound("detect"),
        )
        for what, word in list(HOSTILE.items())[:2]
    ),
    left_out(
        "a configuration is a formula",
        "ablate",
        lambda rows: rows,
        "participants",
        page_is_sound("ablate"),
        r"aggregate.ablate.configurations={mean_pool: {head.kind: mean}, '$\frac{$<script>': {}}",
    ),
]
