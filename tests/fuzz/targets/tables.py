"""Manifests, cohort tables, BIDS trees and tables of pseudonyms."""

from pathlib import Path

from fuzz.target import ARCHIVE, Files, Target

from aggregate.cohort.cohort import load_cohort
from aggregate.cohort.request import CohortRequest
from aggregate.cohort.select import SelectSpec
from aggregate.cohort.table.cohort_table import read_table
from aggregate.cohort.table.join_spec import JoinSpec
from aggregate.cohort.table.split import SplitSpec
from aggregate.cohort.table.where import where
from aggregate.targets.classification import ClassificationSpec
from cache_schema.move.pseudonyms import read_pseudonyms
from cache_schema.store.reader import open_store
from extract.planning.plan import plan_extraction, refuse_same_keys
from extract.slices.presets import PRESETS
from extract.sources.bids import BidsInput, find_bids
from extract.sources.manifest import Columns, ManifestInput, find_manifest

_MANIFESTS: list[Files] = [
    {
        "t.csv": b"participant_id,session_id,path,orientation,spacing_mm\n"
        b"01,,a.nii,RAS,1x1x1.2\n02,b,c.h5:/d,lps,\n"
    },
    {"t.csv": b"PTID\tfile\tcontrast\tforeground_path\n007\timg/x_T1w.nii.gz\tT1w\tm.nii\nn/a\t\t\t\n"},
    {"t.csv": b"file;volume_id\r\na/sub-1_T1w.nii;x\r\nb/sub-2_ses-1_run-2_T2w.nii;y\r\n"},
]
_SPECS = (
    ManifestInput(manifest=Path("t.csv")),
    ManifestInput(manifest=Path("t.csv"), columns=Columns(participant="PTID", path="file")),
    ManifestInput(manifest=Path("t.csv"), columns=Columns(path="file"), row_is_participant=True),
)


def _manifest(folder: Path) -> object:
    """As whichever of the three pipelines the table's header fits."""
    header = (folder / "t.csv").read_bytes().partition(b"\n")[0] if (folder / "t.csv").is_file() else b""
    spec = _SPECS[1 if b"PTID" in header else 2 if b"participant" not in header else 0]
    found, _ = find_manifest(spec, folder)
    refuse_same_keys(found)
    return found


def _tree() -> list[Files]:
    """Names of a BIDS tree; what the images hold is another parser's."""
    names = (
        "sub-01/anat/sub-01_T1w.nii",
        "sub-02/ses-1/anat/sub-02_ses-1_acq-x_run-2_T1w.nii.gz",
        "sub-03/sub-03_T1w.img",
    )
    return [
        dict.fromkeys(names[: count + 1], b"x") | {"dataset_description.json": b'{"DatasetType": "raw"}'}
        for count in range(len(names))
    ]  # fmt: skip


def _bids(folder: Path) -> object:
    """The names, then headers: what is no image becomes a refused volume."""
    found, _ = find_bids(BidsInput(bids=folder), Path())
    refuse_same_keys(found)
    plan_extraction(BidsInput(bids=folder), Path(), PRESETS["letterbox"])
    return found


_COHORT = (
    b"participant_id,session_id,diagnosis,age,site,split\nsub-00,ses-1,control,60,A,train\n"
    b"sub-01,,patient,71.5,B,val\nsub-02,,control,n/a,A,test\n"
)


def _cohorts() -> list[Files]:
    table = (ARCHIVE / "images" / "participants.tsv").read_bytes()
    return [{"t.tsv": table}, {"t.csv": table.replace(b"\t", b";")}, {"t.csv": _COHORT}]


def _cohort(folder: Path) -> object:
    """Joined to a store, by several specs; the last word is that of the plainest."""
    found = sorted(path for path in folder.rglob("*") if path.is_file()) or [folder / "t.csv"]
    table = read_table(found[0], ("-4",))
    if "sex" in table.text.columns:
        where("age >= 60 and diagnosis in ['control', 'x'] or not (sex == 'F')", table.typed)
    store = open_store(ARCHIVE / "sealed.zarr")
    split = SplitSpec(column="split") if "split" in table.text.columns else None
    request = CohortRequest(
        found[0], missing=("-4",), join=JoinSpec(order="age" if "age" in table.text.columns else None),
        sessions="last", select=SelectSpec(), target=ClassificationSpec(column="diagnosis"), split=split,
    )  # fmt: skip
    return load_cohort(request, store)


_JOINED: list[Files] = [
    {
        "t.csv": b"RID,PTID,EXAMDATE,diagnosis\n"
        + b"".join(
            b"%d,ADNI_%02d,2005-10-%02d,%b\n" % (i, i, 20 + i, (b"control", b"patient")[i % 2])
            for i in range(8)
        ),
        "scans.csv": b"who,visit,day\n"
        + b"".join(b"sub-%02d,m%d,10/1/2005\nsub-%02d,,9/30/2005\n" % (i, i % 3, i) for i in range(8)),
        "apoe.csv": b"RID;e4\n0;1\n1;0\n1;0\n2.0;1\n3;0\n4;1\n5;0\n",
    }
]
_JOIN = {
    "participant": "PTID",
    "strip_prefix": "ADNI_",
    "ignore": "_",
    "pad": {"participant": 2, "session": 2},
    "visits": {"bl": "M0", "m*": "*"},
    "ambiguous": "leave_out",
    "nearest": {"column": "EXAMDATE", "days": 90},
    "dates": {
        "table": "scans.csv",
        "participant": "who",
        "session": "visit",
        "date": "day",
        "format": "%m/%d/%Y",
    },
    "tables": {"table": "apoe.csv", "by": "RID", "where": "e4 >= 0"},
}


def _joined(folder: Path) -> object:
    """Rows nearest to dates, a further table, ids and codes made alike."""
    spec = JoinSpec.model_validate(_JOIN).located(folder.joinpath)
    store = open_store(ARCHIVE / "sealed.zarr")
    target = ClassificationSpec(column="diagnosis")
    return load_cohort(CohortRequest(folder / "t.csv", join=spec, target=target), store)


_WHERE = (
    b"age >= 55 and site == 'A'",
    b"not (`diagnosis` in ['control', 'x']) or age * 2 - 1 < 100 and site is not None",
    b"participant_id != 'sub-00' and 50 < age <= 80",
)


def _condition(folder: Path) -> object:
    """A condition over a fixed table."""
    (folder / "fixed.csv").write_bytes(_COHORT)
    given = sorted(path for path in folder.rglob("*") if path.name != "fixed.csv" and path.is_file())
    text = given[0].read_text(encoding="utf-8", errors="replace") if given else ""
    return where(text, read_table(folder / "fixed.csv").typed)


_PSEUDONYMS = (
    b"participant_id\tsession_id\tvolume_id\tnew_participant_id\tnew_session_id\tnew_volume_id\n"
    b"sub-01\tses-1\tT1w\tp1234abcd\t01\tT1w\n'=2\t\tT1w\tp0000abcd\t\tvolume-1\n"
)


def _pseudonyms(folder: Path) -> object:
    return read_pseudonyms(folder / "p.tsv")


READER = "cache_schema.common.text.tables"
TARGETS = [
    Target(
        "manifest",
        lambda: _MANIFESTS,
        _manifest,
        (READER, "extract.sources.manifest", "extract.sources.table", "extract.sources.cells"),
    ),
    Target("BIDS tree", _tree, _bids, ("extract.sources.bids", "extract.sources.candidate")),
    Target(
        "cohort table",
        _cohorts,
        _cohort,
        (
            READER,
            "aggregate.cohort.table.join",
            "aggregate.targets.classification",
            "aggregate.cohort.table.split",
            "aggregate.common.table_values",
        ),
    ),
    Target(
        "where", lambda: [{"c.txt": text} for text in _WHERE], _condition, ("aggregate.cohort.table.where",)
    ),
    Target(
        "joins",
        lambda: _JOINED,
        _joined,
        tuple(f"aggregate.cohort.table.{name}" for name in ("join", "merge", "dates", "ids", "cohort_table")),
    ),
    Target("pseudonyms", lambda: [{"p.tsv": _PSEUDONYMS}], _pseudonyms, ("cache_schema.move.pseudonyms",)),
]
