"""Rows by the date nearest to the scan; dates of scans; ids and visit codes that must be made alike."""

from datetime import date

import pandas as pd
import pytest

from aggregate.cohort.cohort import load_cohort
from aggregate.config.resolved import resolved
from aggregate.config.section import parse_section
from cache_schema.common.errors import ConfigError, SlicecacheError
from cache_schema.common.pipeline_file import Pipeline

SCANS = (
    "who,visit,day\n1,a,2020-01-10\n1,b,2021-01-10\n2,a,2020-03-01\n3,a,2020-03-01\n4,a,2020-03-01T10:00:00\n"
)
DATES = {"table": "scans.csv", "participant": "who", "session": "visit", "date": "day"}
ROWS = (
    "participant_id,when,dx\n1,2020-01-01,x\n1,2020-12-31,x\n1,2023-01-01,x\n2,2020-02-20,z\n2,2020-03-11,x\n"
    "3,2021-03-01,z\n4,n/a,z\n4,2020-03-02,z\n5,2020-01-01,z\n"
)


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text)


def load(store, folder, **keys):
    section = parse_section({"cohort": "cohort.csv", "target": "dx", **keys})
    return load_cohort(section.cohort_request(Pipeline({}, folder)), store)


def nearest(days=30, dates=None, **join):
    return {"dates": dates or DATES, "nearest": {"column": "when", "days": days}, **join}


@pytest.fixture
def scanned(make_store, scan):
    return make_store([scan("1", "ses-a"), scan("1", "b"), *(scan(name, "a") for name in "2346")])


def reasons(cohort):
    return {(item.participant_id, item.session_id): item.reason for item in cohort.left_out if item.volume_id}


def test_a_session_takes_the_nearest_row_or_is_listed(scanned, tmp_path):
    write(tmp_path, cohort=ROWS, scans=SCANS)
    cohort = load(scanned, tmp_path, join=nearest(), sessions="all")
    found = cohort.frame[["participant_id", "session_id", "when"]].values.tolist()
    assert found == [["1", "b", "2020-12-31"], ["1", "ses-a", "2020-01-01"], ["4", "a", "2020-03-02"]]
    assert reasons(cohort) == {
        ("2", "a"): "ambiguous (2 rows of cohort.csv equally near: 2020-02-20, 2020-03-11)",
        ("3", "a"): "no row within 30 days (the nearest is 365 days away)",
        ("6", "a"): "in the store, not in the table",
    }
    rows = [(item.participant_id, item.reason) for item in cohort.left_out if not item.volume_id]
    assert ("5", "in the table, not in the store") in rows
    assert rows.count(("1", "nearest to no session")) == 1
    assert cohort.turnout.line().count("nearest to no session") == 1


def test_days_are_a_limit_on_both_sides(scanned, tmp_path):
    write(tmp_path, cohort=ROWS, scans=SCANS)
    close = load(scanned, tmp_path, join=nearest(9), sessions="all")
    assert close.participants.tolist() == ["1", "4"]
    assert reasons(close)["1", "b"] == "no row within 9 days (the nearest is 10 days away)"


def test_a_column_marks_rows_by_date_as_it_marks_sessions(scanned, tmp_path):
    lines = ROWS.splitlines()
    marked = [f"{line},{'yes' if '-31' in line or line[0] == '4' else 'no'}" for line in lines[1:]]
    write(tmp_path, cohort="\n".join([f"{lines[0]},use", *marked]) + "\n", scans=SCANS)
    cohort = load(scanned, tmp_path, join=nearest(), sessions="use")
    assert cohort.frame[["participant_id", "session_id"]].values.tolist() == [["1", "b"], ["4", "a"]]
    assert reasons(cohort)["1", "ses-a"] == "session not marked in use"


def test_where_comes_first(scanned, tmp_path):
    write(tmp_path, cohort=ROWS, scans=SCANS)
    condition = "when != '2020-02-20' and participant_id != 4"
    cohort = load(scanned, tmp_path, join=nearest(400), where=condition)
    assert cohort.frame[["participant_id", "dx"]].values.tolist() == [["1", "x"], ["2", "x"], ["3", "z"]]
    assert reasons(cohort)["4", "a"] == "left out by where"


def test_a_session_with_two_dates_or_none_is_not_guessed(scanned, tmp_path):
    write(tmp_path, cohort=ROWS, scans=SCANS + "1,a,2020-01-11\n2,a,2020-03-01\n".replace("2,a", "3,c"))
    cohort = load(scanned, tmp_path, join=nearest(400), sessions="all", missing=[-4])
    assert reasons(cohort)["1", "ses-a"] == (
        "ambiguous date of the session (2020-01-10, 2020-01-11 in scans.csv)"
    )
    (tmp_path / "scans.csv").write_text("who,visit,day\n1,b,2021-01-10\n4,a,2020-03-01\n")
    left = reasons(load(scanned, tmp_path, join=nearest(400), sessions="all"))
    assert left["2", "a"] == "no date of the session (in scans.csv)"


def test_dates_of_bids_sessions(make_store, scan, tmp_path):
    store = make_store([scan("sub-01", "ses-1"), scan("sub-01", "ses-2"), scan("sub-02", "ses-1")])
    for name, rows in {
        "sub-01": "ses-1\t2022-05-01T12:00:00\nses-2\t2020-05-01\n",
        "sub-02": "ses-1\tn/a\n",
    }.items():
        (tmp_path / "bids" / name).mkdir(parents=True)
        (tmp_path / "bids" / name / f"{name}_sessions.tsv").write_text("session_id\tacq_time\n" + rows)
    write(tmp_path, cohort="participant_id,dx\n01,x\n02,z\n")
    first = load(store, tmp_path, join={"dates": {"bids": "bids"}})
    # By date, not by label; a participant with one session needs no date.
    assert first.frame["session_id"].tolist() == ["ses-2", "ses-1"]
    last = load(store, tmp_path, join={"dates": {"bids": "bids"}}, sessions="last")
    assert last.frame["session_id"].tolist() == ["ses-1", "ses-1"]
    assert load(store, tmp_path).frame["session_id"].tolist() == ["ses-1", "ses-1"]
    with pytest.raises(ConfigError, match=r"'.*none' has no sub-\*/sub-\*_sessions.tsv"):
        load(store, tmp_path, join={"dates": {"bids": "none"}})


def tree(root, tables):
    """Tables of a BIDS tree by path."""
    for path, text in tables.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def test_sessions_without_a_date_have_those_of_their_images(make_store, scan, tmp_path):
    sessions = ("sub-01", "ses-1"), ("sub-01", "ses-2"), ("sub-02", "ses-1"), ("sub-03", "ses-1")
    store = make_store([scan(*session) for session in sessions])
    header, name = "filename\tacq_time\n", "{0}/anat/sub-0{1}_{0}_{2}.nii.gz\t{3}\n"
    tree(
        tmp_path / "bids",
        {
            # Its first session has a date, which counts; its second has none.
            "sub-01/sub-01_sessions.tsv": "session_id\tacq_time\nses-1\t2020-01-02\nses-2\tn/a\n",
            "sub-01/ses-1/sub-01_ses-1_scans.tsv": header + name.format("ses-1", 1, "T1w", "1999-01-01"),
            "sub-01/ses-2/sub-01_ses-2_scans.tsv": header
            + name.format("ses-2", 1, "T1w", "2021-01-05T10:00:00.5")
            + name.format("ses-2", 1, "acq-late_T1w", "2021-02-05"),
            # Others need no table of sessions, and theirs no date.
            "sub-02/sub-02_sessions.tsv": "session_id\tage\nses-1\t60\n",
            "sub-02/ses-1/sub-02_ses-1_scans.tsv": header
            + name.format("ses-1", 2, "FLAIR", "2022-03-01T09:00:00")
            + name.format("ses-1", 2, "bold", "2022-03-01T11:00:00"),
            "sub-03/ses-1/sub-03_ses-1_scans.tsv": header
            + name.format("ses-1", 3, "FLAIR", "2022-03-01")
            + name.format("ses-1", 3, "bold", "2022-04-01"),
        },
    )
    rows = "1,2020-01-01,x\n1,2021-01-08,x\n1,2021-02-05,x\n2,2022-03-05,z\n3,2022-03-01,x\n"
    write(tmp_path, cohort="participant_id,when,dx\n" + rows)
    join = nearest(9, {"bids": "bids"}, pad={"participant": 2})
    cohort = load(store, tmp_path, join=join, sessions="all")
    found = cohort.frame[["participant_id", "session_id", "when"]].values.tolist()
    assert found == [
        ["sub-01", "ses-1", "2020-01-01"],
        ["sub-01", "ses-2", "2021-01-08"],
        ["sub-02", "ses-1", "2022-03-05"],
    ]
    assert reasons(cohort)["sub-03", "ses-1"] == (
        "ambiguous date of the session (2022-03-01, 2022-04-01 in sub-*_sessions.tsv and sub-*_scans.tsv)"
    )


def test_dates_of_images_where_nobody_has_sessions(make_store, scan, tmp_path):
    store = make_store([scan("sub-01"), scan("sub-02")])
    text = "filename\tday\nanat/{0}_T1w.nii.gz\t{1}\n"
    days = {"sub-01": "2020-01-01", "sub-02": "2020-06-01"}
    tree(tmp_path, {f"{who}/{who}_scans.tsv": text.format(who, day) for who, day in days.items()})
    write(tmp_path, cohort="participant_id,when,dx\n01,2020-01-03,x\n01,2020-06-01,z\n02,2020-06-02,z\n")
    cohort = load(store, tmp_path, join=nearest(9, {"bids": ".", "date": "day"}))
    assert cohort.frame["when"].tolist() == ["2020-01-03", "2020-06-02"]
    with pytest.raises(ConfigError, match=r"_scans.tsv in .* has a column 'days'; did you mean 'day'"):
        load(store, tmp_path, join=nearest(9, {"bids": ".", "date": "days"}))
    (tmp_path / "sub-01" / "sub-01_scans.tsv").write_text(text.format("sub-01", "1/2/2020"))
    with pytest.raises(SlicecacheError, match=r"sub-01_scans.tsv holds '1/2/2020'"):
        load(store, tmp_path, join=nearest(9, {"bids": ".", "date": "day"}))


def test_dates_in_other_orders_must_be_told(scanned, tmp_path):
    write(tmp_path, cohort=ROWS, scans=SCANS.replace("2020-01-10", "1/10/2020"))
    with pytest.raises(
        SlicecacheError, match=r"scans.csv holds '1/10/2020', .*join.dates.format: '%m/%d/%Y'"
    ):
        load(scanned, tmp_path, join=nearest())
    american = "who,visit,day\n1,a,1/10/2020\n4,a,3/1/2020\n"
    write(tmp_path, cohort=ROWS.replace("2020-01-01,x", "soon,x"), scans=american)
    told = {**DATES, "format": "%m/%d/%Y"}
    with pytest.raises(SlicecacheError, match=r"'when' of cohort.csv holds 'soon', .*join.date_format"):
        load(scanned, tmp_path, join=nearest(dates=told))
    write(tmp_path, cohort=ROWS)
    assert load(scanned, tmp_path, join=nearest(dates=told)).participants.tolist() == ["1", "4"]


@pytest.mark.parametrize(
    ("join", "message"),
    [
        ({"nearest": {"column": "when", "days": 3}}, "nearest needs dates: the store holds none"),
        (nearest(session="visit"), "session and nearest exclude each other"),
        ({"dates": {"date": "x"}}, "either `bids: FOLDER` or `table: FILE`"),
        ({"dates": {"bids": "x", "table": "y"}}, "either `bids: FOLDER` or `table: FILE`"),
        ({"visits": {"m*": "M"}}, r"must have one \* on both sides"),
        ({"pad": 0}, "pad"),
        ({"ambiguous": "guess"}, "ambiguous"),
    ],
)
def test_what_cannot_be_meant_is_refused(join, message):
    with pytest.raises(ConfigError, match=message):
        parse_section({"cohort": "c.csv", "target": "dx", "join": join})


def test_ids_and_visit_codes_are_made_alike(make_store, scan, tmp_path):
    store = make_store(
        [scan("sub-001", "ses-M000"), scan("sub-001", "ses-M012"), scan("sub-002", "ses-M000")]
    )
    write(tmp_path, cohort="subj,VISCODE,dx\n1,bl,x\n1,m12,x\n2,bl,z\n2,sc,z\n")
    join = {
        "rename": {"subj": "id"},
        "participant": "id",
        "session": "VISCODE",
        "pad": {"participant": 3, "session": 3},
        "visits": {"bl": "M000", "m*": "M*"},
    }
    cohort = load(store, tmp_path, join=join, sessions="all")
    assert cohort.frame["session_id"].tolist() == ["ses-M000", "ses-M012", "ses-M000"]
    assert [(item.session_id, item.reason) for item in cohort.left_out] == [
        ("sc", "in the table, not in the store")
    ]


def test_zeros_that_a_spreadsheet_dropped_are_told_with_the_way_out(make_store, scan, tmp_path):
    store = make_store([scan("001"), scan("002"), scan("010")])
    write(tmp_path, cohort="participant_id,dx\n1,x\n2,z\n10,z\n")
    with pytest.raises(SlicecacheError, match=r"'001' in the store is '1' in cohort.csv; .*join: \{pad: 3\}"):
        load(store, tmp_path)
    assert load(store, tmp_path, join={"pad": 3}).participants.tolist() == ["001", "002", "010"]


def test_doubled_rows_are_refused_or_left_out_and_listed(make_store, scan, tmp_path):
    store = make_store([scan("1"), scan("2"), scan("3")])
    write(tmp_path, cohort="participant_id,dx\n1,x\n2,z\n3,x\n3,z\n")
    with pytest.raises(SlicecacheError, match="more than one row for 3"):
        load(store, tmp_path)
    cohort = load(store, tmp_path, join={"ambiguous": "leave_out"})
    assert cohort.participants.tolist() == ["1", "2"]
    assert reasons(cohort) == {("3", ""): "ambiguous (2 rows of cohort.csv)"}


def test_further_tables_are_told_of_and_their_doubts_left_out(make_store, scan, tmp_path):
    store = make_store([scan("1"), scan("2"), scan("3")])
    write(
        tmp_path,
        cohort="participant_id,dx\n1,x\n2,z\n3,x\n4,z\n",
        apoe="participant_id,e4\nsub-1,0\n2,1\n3,0\n3,1\n",
    )
    join = {"tables": [{"table": "apoe.csv", "by": "participant_id"}], "ambiguous": "leave_out"}
    cohort = load(store, tmp_path, join=join, where="e4 >= 0")
    assert cohort.frame["e4"].tolist() == [0.0, 1.0]
    assert reasons(cohort) == {("3", ""): "ambiguous (2 rows of apoe.csv)"}
    told = cohort.turnout.as_json()["turnout"]["tables"]
    assert told[0]["absent"] == ("4",)
    assert any("apoe.csv: 2 of 4 rows have theirs by participant_id" in note for note in cohort.notes)
    pipeline = Pipeline({"cache": {"store": "s"}, "run": {"folder": "r"}}, tmp_path)
    again = resolved(pipeline, parse_section({"cohort": "cohort.csv", "target": "dx", "join": join}))
    assert again["aggregate"]["join"]["tables"][0]["table"] == str(tmp_path / "apoe.csv")


def test_one_workbook_may_hold_cohort_further_table_and_dates(scanned, tmp_path):
    openpyxl = pytest.importorskip("openpyxl", reason="slicecache[tables] is not installed")
    book = openpyxl.Workbook()
    for name, text in {"Visits": ROWS, "Scans": SCANS, "APOE": "participant_id,e4\n1,1\n4,0\n"}.items():
        sheet = book.create_sheet(name)
        for line in text.splitlines():
            sheet.append(line.split(","))
        for cell in sheet["B" if name == "Visits" else "C"][1:]:
            day = str(cell.value).partition("T")[0]
            cell.value = date.fromisoformat(day) if day[:1] == "2" else cell.value
    book.save(tmp_path / "study.xlsx")
    write(tmp_path, cohort=ROWS, scans=SCANS, apoe="participant_id,e4\n1,1\n4,0\n")
    further = {"by": "participant_id"}
    plain = load(scanned, tmp_path, sessions="all", join=nearest(tables=[{**further, "table": "apoe.csv"}]))
    join = nearest(
        dates={**DATES, "table": "study.xlsx", "sheet": "Scans"},
        tables=[{**further, "table": "study.xlsx", "sheet": "APOE"}],
    )
    found = load(scanned, tmp_path, cohort="study.xlsx", sheet="Visits", sessions="all", join=join)
    pd.testing.assert_frame_equal(found.frame, plain.frame)
    assert reasons(found)["2", "a"].startswith("ambiguous (2 rows of study.xlsx equally near")
    with pytest.raises(ConfigError, match="has 4 sheets: say which by sheet:"):
        load(scanned, tmp_path, cohort="study.xlsx", join=join)
