"""Who took part: what the report tells of people, as tables."""

from aggregate.paper.finished import Finished
from aggregate.paper.tables.table import Table


def cohort_tables(run: Finished) -> list[Table]:
    """What the report tells of people: labels, slices, sites, groups, and who was left out."""
    captions = {
        "cohort": "Participants by label.",
        "slices": "Kept slices and coverage by label, median (range).",
        "sites": "Participants by site and label.",
        "groups": "What became of the reference group, and of the others."
        if run.verb == "detect"
        else "Groups left out of training one by one, each judged by models that saw nobody of it.",
        "risk_groups": "Risk groups.",
    }
    found = [
        Table(
            name,
            captions[name],
            tuple(map(str, own["head"])),
            tuple(tuple(map(str, row)) for row in own["rows"]),
        )
        for name in captions
        if isinstance(own := run.page.get(name), dict) and {"head", "rows"} <= own.keys()
    ]
    rows = [
        (str(group["reason"]), str(group["count"]))
        for group in run.page.get("left_out") or []
        if isinstance(group, dict)
    ]
    if rows:
        found.append(
            Table("left_out", "Volumes and rows left out, by reason.", ("reason", "number"), tuple(rows))
        )
    return found
