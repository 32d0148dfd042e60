"""Times and events that cannot be: before birth, beyond arithmetic, of nobody, of everybody at once."""

from collections.abc import Callable

from attacks.scene import Attack, Scene

Arrange = Callable[[Scene], list[str]]
SOUND = [f"{3 + 2 * i}\t{int(i % 3 > 0)}" for i in range(10)]


def _rows(rows: list[str], target: str = "event: converted", more: str = "") -> Arrange:
    """The archive's pipeline with months and converted of its ten participants."""

    def arrange(scene: Scene) -> list[str]:
        scene.archived("images")
        scene.archived("unsealed.zarr")
        table = [f"sub-{i:02d}\t{row}" for i, row in enumerate(rows)]
        lines = ["participant_id\tmonths\tconverted", *table]
        (scene.folder / "images" / "participants.tsv").write_text("\n".join(lines) + "\n")
        path = scene.archived("pipeline.yaml")
        text = path.read_text()
        for old, new in (
            ("{column: diagnosis, positive: patient}", f"{{column: months, task: survival, {target}}}"),
            ("train: {epochs: 6, batch_size: 4, learning_rate: 0.01}", f"train: {{epochs: 6{more}}}"),
        ):
            assert old in text
            text = text.replace(old, new, 1)
        path.write_text(text)
        return [str(path)]

    return arrange


def _train(fault: str, arrange: Arrange, says: str, code: int = 2) -> Attack:
    return Attack(fault, "train", arrange, says, code)


def _first(cell: str) -> Arrange:
    return _rows([cell, *SOUND[1:]])


ATTACKS = [
    _train("a time before the start", _first("-3\t1"), r"takes times of 0 or more, .* holds '-3'"),
    _train("a time beyond numbers", _first("1e999\t1"), r"takes times of 0 or more, .* holds '1e999'"),
    _train("a time beyond float32", _first("1e39\t1"), r"takes times of 0 or more, .* holds '1e39'"),
    _train(
        "a time below float32",
        _rows([f"1e-50\t{i % 2}" for i in range(10)]),
        r"nobody has a time, .* \d+ no time under",
    ),
    _train("a date for a time", _first("2024-01-31\t1"), r"takes times of 0 or more, .* '2024-01-31'"),
    _train("an event of another word", _first("3\tmaybe"), r"column 'converted' .* holds maybe; say which"),
    _train(
        "nobody with the event",
        _rows([f"{i + 1}\t0" for i in range(10)]),
        r"none of the 8 part.* has the event",
    ),
    _train(
        "one with the event in two folds",
        _rows(["3\t1", *[f"{i + 4}\t0" for i in range(9)]]),
        r"fold \d (tests|trains on) nobody with the event",
    ),
    _train(
        "everybody at once",
        _rows(["5\t1"] * 10),
        r"c_index|C-index",
        0,
    ),
    _train(
        "times a billion apart",
        _rows([f"1e{3 * i - 12}\t{int(i % 3 > 0)}" for i in range(10)]),
        r"report: .*report\.html",
        0,
    ),
    _train(
        "a positive class of times", _rows(SOUND, "event: converted, positive: 1"), r"positive is for cla"
    ),
    _train("no event column", _rows(SOUND, "event: died"), r"target\.event: .* has no column 'died'"),
    _train(
        "risk sets of three", _rows(SOUND, more=", batch_size: 3"), r"loss cox needs the whole training part"
    ),
]
