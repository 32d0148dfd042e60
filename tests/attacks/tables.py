"""Tables that are broken, ambiguous, or made to run in somebody's spreadsheet."""

import csv
import shutil
from collections.abc import Callable

from attacks.scene import Answer, Attack, Scene
from cache_schema.common.text.cells import RUN

Arrange = Callable[[Scene], list[str]]
HEADER = b"participant_id\tage\tsex\tdiagnosis\n"


def _cohort(data: bytes | Callable[[bytes], bytes], *more: str) -> Arrange:
    """The archive's store and pipeline with another cohort table."""

    def arrange(scene: Scene) -> list[str]:
        scene.archived("unsealed.zarr")
        scene.archived("images")
        table = scene.folder / "images" / "participants.tsv"
        table.write_bytes(data if isinstance(data, bytes) else data(table.read_bytes()))
        return [str(scene.archived("pipeline.yaml")), *more]

    return arrange


def _manifest(data: bytes, extra: str = "") -> Arrange:
    """A manifest in place of the BIDS tree; its images are the archive's."""

    def arrange(scene: Scene) -> list[str]:
        scene.archived("images")
        (scene.folder / "volumes.csv").write_bytes(data)
        pipeline = scene.archived("pipeline.yaml")
        given = f"input: {{manifest: volumes.csv{extra}}}"
        pipeline.write_text(pipeline.read_text().replace("input: {bids: images, suffix: T1w}", given))
        return [str(pipeline)]

    return arrange


ONE = "images/sub-00/anat/sub-00_T1w.nii.gz"
FORMULAS = ("=cmd|' /C calc'!A0", "@SUM(1+1)", "+1+1", "-2+3", "＝1+1")


def _hostile_ids(scene: Scene) -> list[str]:
    """Participants that are formulas, one without an image that can be read."""
    rows = [
        f'"{name}",images/sub-0{place}/anat/sub-0{place}_T1w.nii.gz' for place, name in enumerate(FORMULAS)
    ]
    rows[3] = f'"{FORMULAS[3]}","images/sub-03/ses-01/anat/sub-03_ses-01_T1w.nii.gz"'
    rows.append('"=absent()",nowhere.nii')
    return _manifest(("participant_id,path\n" + "\n".join(rows) + "\n").encode())(scene)


def _failures_run_nothing(scene: Scene, answer: Answer) -> None:
    with (scene.folder / "run" / "failures.tsv").open(newline="") as file:
        cells = [cell for row in csv.reader(file, delimiter="\t") for cell in row]
    assert "'=absent()" in cells
    assert not [cell for cell in cells if cell.startswith(RUN)]


def _hostile_labels(data: bytes) -> bytes:
    return data.replace(b"control", b"=1+1").replace(b"patient", b"@patient")


def _predictions_run_nothing(scene: Scene, answer: Answer) -> None:
    with (scene.folder / "run" / "train" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["y"] for row in rows} == {"'=1+1", "'@patient"}
    numbers = [float(row[name]) for row in rows for name in row if name.startswith("logit_")]
    assert min(numbers) < 0  # and are numbers still


def _hostile_train(scene: Scene) -> list[str]:
    arguments = _cohort(_hostile_labels)(scene)
    pipeline = scene.folder / "pipeline.yaml"
    pipeline.write_text(pipeline.read_text().replace("positive: patient", "positive: '@patient'"))
    return arguments


def _long_cell(data: bytes) -> bytes:
    return data + b"sub-99\t" + b"9" * 200_000 + b"\tF\tcontrol\n"


def _three_endings(data: bytes) -> bytes:
    """A mark, then rows that end as on an old Macintosh, on Windows and elsewhere."""
    return b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n", 3).replace(b"\r\n", b"\r", 1)


NESTED = "aggregate.where=" + "(" * 1000 + "age > 1" + ")" * 1000
ATTACKS = [
    Attack(
        "a NUL in the cohort",
        "train",
        _cohort(lambda data: data.replace(b"control", b"con\x00trol", 1)),
        r"participants.tsv' has a NUL on line 2",
    ),
    Attack(
        "a quote never closed",
        "train",
        _cohort(lambda data: data.replace(b"control", b'"control', 1)),
        r"broken from line 2 on: a quote is opened and never closed",
    ),
    Attack(
        "a quote inside a quoted cell",
        "train",
        _cohort(lambda data: data.replace(b"control", b'"con"trol"', 1)),
        r"broken from line 2 on: a quote stands inside a quoted cell",
    ),
    Attack(
        "a cell of 200,000 characters",
        "train",
        _cohort(_long_cell),
        r"a cell is longer than 131072 characters",
    ),
    Attack(
        "UTF-16 in the cohort",
        "train",
        _cohort(lambda data: data.decode().encode("utf-16")),
        r"is UTF-16, not UTF-8",
    ),
    Attack(
        "Latin-1 in the cohort",
        "detect",
        _cohort(lambda data: data + "é".encode("latin-1")),
        r"is not UTF-8 text",
    ),
    Attack(
        "a column twice",
        "train",
        _cohort(lambda data: data.replace(b"age", b"sex", 1)),
        r"more than one column sex",
    ),
    Attack(
        "a cell too few",
        "train",
        _cohort(lambda data: data + b"sub-99\t60\n"),
        r"line \d+ of .* has 2 cells, its header has 4",
    ),
    Attack(
        "a participant twice",
        "train",
        _cohort(lambda data: data + data.splitlines(True)[1]),
        r"more than one row for sub-00",
    ),
    Attack("nothing but a header", "train", _cohort(HEADER), r"has no rows"),
    Attack(
        "no participant",
        "train",
        _cohort(lambda data: data + b"\t60\tF\tcontrol\n"),
        r"1 rows have no 'participant_id'",
    ),
    Attack(
        "a folder in its place",
        "train",
        lambda scene: _table_is_folder(scene),
        r"cannot read the cohort table .*: it is no ordinary file",
    ),
    Attack(
        "no such column",
        "train",
        _cohort(lambda data: data.replace(b"diagnosis", b"diagnose", 1)),
        r"no column 'diagnosis'; did you mean 'diagnose'",
    ),
    Attack(
        "a condition that calls",
        "train",
        _cohort(lambda data: data, "--set", "aggregate.where=__import__('os').system('ls')"),
        r"where: .* condition",
    ),
    Attack(
        "a condition nested 1,000 deep",
        "train",
        _cohort(lambda data: data, "--set", NESTED),
        r"where: .*is not a condition",
    ),
    Attack(
        "rows that end in three ways, and a mark", "train", _cohort(_three_endings), r"AUROC|auroc|report", 0
    ),
    Attack(
        "labels that are formulas",
        "train",
        _hostile_train,
        r"AUROC|auroc|report",
        0,
        check=_predictions_run_nothing,
    ),
    Attack(
        "a NUL in the manifest",
        "plan",
        _manifest(b"participant_id,path\n1,a\x00.nii\n"),
        r"volumes.csv' has a NUL on line 2",
    ),
    Attack(
        "a quote never closed in the manifest",
        "extract",
        _manifest(b'participant_id,path\n"1,a.nii\n'),
        r"a quote is opened and never closed",
    ),
    Attack(
        "UTF-16 in the manifest",
        "plan",
        _manifest("participant_id,path\n1,a.nii\n".encode("utf-16")),
        r"is UTF-16",
    ),
    Attack(
        "a column twice in the manifest",
        "plan",
        _manifest(b"participant_id,path,path\n1,a,b\n"),
        r"has the column 'path' twice",
    ),
    Attack(
        "a cell too many",
        "plan",
        _manifest(b"participant_id,path\n1,a,b\n"),
        r"row 2 of .* has 3 cells, the header 2",
    ),
    Attack(
        "no participant column",
        "plan",
        _manifest(b"name,path\n1,a\n"),
        r"has no column 'participant_id'.*columns: \{participant:",
    ),
    Attack(
        "a misspelt column",
        "plan",
        _manifest(b"participant_id,path\n1,a\n", ", columns: {path: paht}"),
        r"columns.path: .* has no column 'paht'; did you mean 'path'",
    ),
    Attack(
        "one key for two files",
        "plan",
        _manifest(f"participant_id,path,volume_id\n1,{ONE},x\n1,nowhere.nii,x\n".encode()),
        r"two volumes have the key 1/x",
    ),
    Attack(
        "voxel sizes that are none",
        "plan",
        _manifest(b"participant_id,path,spacing_mm\n1,a.h5:/x,1x-1x1\n"),
        r"spacing_mm must be three sizes .*, not '1x-1x1'",
    ),
    Attack(
        "axes that are none",
        "plan",
        _manifest(b"participant_id,path,orientation\n1,a.nii,RRS\n"),
        r"orientation must be three axis codes .*, not 'RRS'",
    ),
    Attack(
        "ids that are formulas", "extract", _hostile_ids, r"failed|failures", 1, check=_failures_run_nothing
    ),
    Attack(
        "a file name longer than any",
        "plan",
        _manifest(
            b"participant_id,path,foreground_path\n1,"
            + b"a" * 300
            + b".nii,\n2,b.nii,"
            + b"c" * 300
            + b".nii\n"
        ),
        r"2 cannot be embedded|File name too long",
        1,
    ),
    Attack(
        "the home of nobody",
        "plan",
        _manifest(b"participant_id,path\n1,~nobody-at-all/a.nii\n"),
        r"there is no file|cannot",
        1,
    ),
]


def _table_is_folder(scene: Scene) -> list[str]:
    arguments = _cohort(HEADER)(scene)
    table = scene.folder / "images" / "participants.tsv"
    table.unlink()
    shutil.copytree(scene.folder / "images" / "sub-00", table)
    return arguments
