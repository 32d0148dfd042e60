"""Further tables beside the cohort table: every row keeps its place and gets at most one row of theirs."""

import pytest

from aggregate.cohort.table.cohort_table import read_table
from aggregate.cohort.table.join_spec import JoinSpec
from aggregate.cohort.table.merge import read_joined_table
from cache_schema.common.errors import ConfigError, SlicecacheError

VISITS = "RID,PTID,VISCODE,AGE\n2,011_S_0002,bl,74.3\n2,011_S_0002,m06,74.3\n3,011_S_0003,bl,81.3\n5,,bl,60\n"


def joined(folder, further, missing=(), **spec):
    (folder / "visits.csv").write_text(VISITS)
    for name, text in further.items():
        (folder / name).write_text(text)
    found = JoinSpec.model_validate(spec).located(lambda path: folder / path)
    return read_joined_table(read_table(folder / "visits.csv", missing), found, missing)


def test_a_table_by_participant_goes_to_every_visit(tmp_path):
    table = joined(
        tmp_path,
        {"apoe.csv": "RID,APGEN1,APGEN2,Phase\n2.0,3,4,1\n3,3,3,1\n9,4,4,1\n"},
        rename={"AGE": "age"},
        tables={"table": "apoe.csv", "by": "RID", "columns": ["APGEN1", "APGEN2"]},
    )
    assert list(table.text.columns) == ["RID", "PTID", "VISCODE", "age", "APGEN1", "APGEN2"]
    assert table.text["APGEN2"].tolist() == ["4", "4", "3", ""]
    assert table.typed["APGEN2"].dropna().tolist() == [4.0, 4.0, 3.0]
    (told,) = table.merged
    assert (told.rows, told.found, told.absent, told.unused) == (4, 3, ("5",), 1)
    assert told.sentence() == "apoe.csv: 3 of 4 rows have theirs by RID; none for 5"


def test_ids_and_visits_are_compared_as_the_join_compares_them(tmp_path):
    table = joined(
        tmp_path,
        {"mri.csv": "who,visit,field\nsub-ADNI011S0002,M006,3.0\nADNI011S2,0,1.5\nADNI011S0003,bl,1.5\n"},
        participant="PTID",
        session="VISCODE",
        ignore="_",
        strip_prefix="ADNI",
        pad={"participant": 4, "session": 3},
        visits={"bl": "M000", "m*": "M*", "0": "M0"},
        tables=[{"table": "mri.csv", "by": {"PTID": "who", "VISCODE": "visit"}}],
    )
    assert table.text["field"].tolist() == ["1.5", "3.0", "1.5", ""]
    assert table.merged[0].absent == ("(missing)",)


TWICE = "RID,FIELD,DATE\n2,3.0,a\n2,3.0,b\n3,1.5,c\n3,3.0,d\n"


def test_several_rows_that_agree_in_what_is_taken_are_one(tmp_path):
    table = joined(
        tmp_path,
        {"mri.csv": TWICE},
        tables={"table": "mri.csv", "by": "RID", "columns": "FIELD", "where": "DATE != 'd'"},
    )
    assert table.text["FIELD"].tolist() == ["3.0", "3.0", "1.5", ""]


def test_several_rows_that_differ_are_refused_or_left_out(tmp_path):
    ask = {"table": "mri.csv", "by": "RID", "columns": "FIELD"}
    with pytest.raises(
        SlicecacheError, match=r"mri.csv has several rows for 3 of visits.csv, which differ in FIELD"
    ):
        joined(tmp_path, {"mri.csv": TWICE}, tables=ask)
    table = joined(tmp_path, {"mri.csv": TWICE}, tables=ask, ambiguous="leave_out")
    assert table.unclear == ("", "", "ambiguous (2 rows of mri.csv)", "")
    assert table.merged[0].unclear == ("3",)
    assert table.rows(table.text["RID"].to_numpy() != "2").unclear == ("ambiguous (2 rows of mri.csv)", "")


def test_missing_codes_hold_in_further_tables_too(tmp_path):
    table = joined(
        tmp_path,
        {"apoe.csv": "RID,GEN\n2,-4\n3,4\n-4,4\n"},
        missing=("-4",),
        tables={"table": "apoe.csv", "by": "RID"},
    )
    assert table.typed["GEN"].isna().tolist() == [True, True, False, True]
    assert table.merged[0].unused == 1


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"rename": {"AEG": "age"}}, r"join.rename: visits.csv has no column 'AEG'; did you mean 'AGE'"),
        ({"rename": {"AGE": "RID"}}, "would have more than one column RID"),
        ({"tables": {"table": "a.csv", "by": "SID"}}, r"by, for a.csv: visits.csv has no column 'SID'"),
        ({"tables": {"table": "a.csv", "by": {"RID": "rdi"}}}, "by: a.csv has no column 'rdi'"),
        ({"tables": {"table": "a.csv", "by": "RID"}}, "a.csv brings AGE, which visits.csv has already"),
        (
            {"tables": {"table": "a.csv", "by": "RID", "columns": {"AGE": "x", "X": "x"}}},
            "a.csv brings x, which visits.csv has already",
        ),
        ({"tables": {"table": "a.csv", "by": "RID", "columns": "Y"}}, "columns: a.csv has no column 'Y'"),
        ({"tables": {"table": "b.csv", "by": "RID"}}, "cannot read the cohort table"),
    ],
)
def test_mistakes_are_named(tmp_path, spec, message):
    with pytest.raises((ConfigError, SlicecacheError), match=message):
        joined(tmp_path, {"a.csv": "RID,AGE,X\n2,1,1\n"}, **spec)
