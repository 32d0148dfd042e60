"""A volume of the training under another id: asked are only the members that did not see whose it is."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from made_up_people import people_store, people_table, words

import slicecache as sc
from aggregate.explain.methods.registry import read_methods
from aggregate.explain.results import explain_run
from aggregate.explain.run import open_run
from aggregate.predict.bundle import BundleCard, load_bundle
from aggregate.predict.bundle_files import CARD_FILE
from aggregate.predict.seen import holders_of
from cache_schema.common.errors import SlicecacheError
from cache_schema.store.reader import open_store

PEOPLE = [f"sub-a{number:02d}" for number in range(24)]
SICK = [number % 2 == 0 for number in range(24)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, its table and a trained run."""
    folder = tmp_path_factory.mktemp("seen")
    people_store(folder / "a.zarr", PEOPLE, SICK, 1)
    people_table(folder / "a.tsv", PEOPLE, words(SICK))
    section = {"cohort": "a.tsv", "target": "diagnosis", "train": {"epochs": 3}, "folds": {"n": 3}}
    data = {"run": {"folder": "run"}, "cache": {"store": "a.zarr"}, "aggregate": section}
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(data))
    sc.train(str(folder / "pipeline.yaml"), folder=folder / "run")
    return folder


def renamed(place: Path, names: list[str]) -> Path:
    """The training's volumes under other names; the bytes of their files are others, too."""
    people_store(place, names, SICK, 1)
    return place


def members_without(trained: Path, *people: str) -> str:
    """Names of the members that saw none of them."""
    card = load_bundle(trained / "run/train/bundle").card
    return " ".join(member.name for member in card.members if not {*people} & {*member.participants})


def older(trained: Path, folder: Path, **changes: Any) -> Path:
    """The bundle as it was before it kept whose its volumes are."""
    folder.mkdir()
    for file in (trained / "run/train/bundle").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    card = json.loads((folder / CARD_FILE).read_bytes())
    del card["volumes"]
    (folder / CARD_FILE).write_text(json.dumps({**card, **changes}))
    return folder


def test_everybody_under_another_name_gets_what_they_had(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Logits, members and likeness: nothing hangs on what somebody is called."""
    own = sc.predict(trained / "run/train", trained / "a.zarr")
    assert "by their content" not in caplog.text
    store = renamed(tmp_path / "x.zarr", [name.replace("a", "x") for name in PEOPLE])
    with caplog.at_level(logging.WARNING, "slicecache"):
        found = sc.predict(trained / "run/train", store)
    assert (found["members"] != "").all()
    assert list(found["participant_id"]) != list(own["participant_id"])
    columns = [name for name in own.columns if not name.endswith("_id")]
    pd.testing.assert_frame_equal(found[columns], own[columns])
    assert (
        "24 volumes are those of training participants sub-a00, sub-a01, sub-a02 and 21 more by their "
        "content: scored by the members that did not see them"
    ) in caplog.text


def test_another_participants_id_with_other_content(trained: Path, tmp_path: Path) -> None:
    """Whoever is somebody by id and somebody else by content is both."""
    store = renamed(tmp_path / "moved.zarr", [*PEOPLE[1:], PEOPLE[0]])
    found = sc.predict(trained / "run/train", store).set_index("participant_id")["members"]
    for content, name in zip(PEOPLE, [*PEOPLE[1:], PEOPLE[0]], strict=True):
        assert found[name] == members_without(trained, content, name)
    assert len(set(found)) > 1
    people_store(tmp_path / "new.zarr", PEOPLE[:3], SICK[:3], 9)  # nobody's content
    found = sc.predict(trained / "run/train", tmp_path / "new.zarr").set_index("participant_id")["members"]
    assert [found[name] for name in PEOPLE[:3]] == [members_without(trained, name) for name in PEOPLE[:3]]


def test_another_visit_of_who_was_recognised_is_theirs(trained: Path, tmp_path: Path) -> None:
    """A participant is one person, whichever of their volumes the training had."""
    people_store(tmp_path / "visits.zarr", ["sub-x"], [True], 1, sessions=2)
    found = sc.predict(trained / "run/train", tmp_path / "visits.zarr")
    assert list(found["members"]) == [members_without(trained, PEOPLE[0])] * 2
    assert found["logit_patient"].nunique() == 2


def test_bundles_of_before_keep_working(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One that keeps no digests knows ids; one that keeps digests, and not whose, asks nobody of a copy."""
    store = renamed(tmp_path / "x.zarr", [*PEOPLE[:20], *(f"sub-x{number}" for number in range(4))])
    found = sc.predict(older(trained, tmp_path / "oldest"), store).set_index("participant_id")["members"]
    assert found["sub-x0"] == members_without(trained)
    assert found[PEOPLE[0]] == members_without(trained, PEOPLE[0])
    digests = sorted(holders_of(load_bundle(trained / "run/train/bundle").card.volumes))
    bundle = older(trained, tmp_path / "old", contents=digests)
    with caplog.at_level(logging.WARNING, "slicecache"):
        found = sc.predict(bundle, store).set_index("participant_id")["members"]
    assert (found[[f"sub-x{number}" for number in range(4)]] == "").all()
    assert found[PEOPLE[0]] == members_without(trained, PEOPLE[0])
    assert "4 volumes were in training by their content, under another id; the bundle is from" in caplog.text


def test_the_card_keeps_whose_each_volume_is(trained: Path) -> None:
    """Two digests of each, of its file and of its numbers; older readers' field is empty."""
    card: BundleCard = load_bundle(trained / "run/train/bundle").card
    assert list(card.volumes) == PEOPLE
    assert card.contents == ()
    digests = np.unique([digest for own in card.volumes.values() for digest in own])
    assert len(digests) == 2 * len(open_store(trained / "a.zarr").entries)


def explained(folder: Path, store: Path, names: list[str]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """`attention.csv` and `metrics.json` of a run explained on another store and table."""
    people_table(store.with_suffix(".tsv"), names, words(SICK))
    moved = [f"cache.store={store}", f"aggregate.cohort={store.with_suffix('.tsv')}"]
    results = explain_run(open_run(folder, moved), read_methods(["attention"]), maps=False)
    return pd.read_csv(results.folder / "attention.csv"), results.metrics


def test_nobody_is_explained_by_who_saw_them_under_another_name(trained: Path, tmp_path: Path) -> None:
    """Maps, members and verdicts are those of the store with the training's own ids."""
    shutil.copytree(trained / "run/train", tmp_path / "run/train")
    names = [name.replace("a", "x") for name in PEOPLE]
    own, own_metrics = explained(tmp_path / "run", renamed(tmp_path / "a.zarr", PEOPLE), PEOPLE)
    found, metrics = explained(tmp_path / "run", renamed(tmp_path / "x.zarr", names), names)
    assert sorted(set(found["participant_id"])) == names
    columns = [name for name in own.columns if not name.endswith("_id")]
    pd.testing.assert_frame_equal(found[columns], own[columns])
    assert metrics["methods"] == own_metrics["methods"]
    told = "by their content: explained by the members that did not see them"
    assert [told in note for note in metrics["notes"]].count(True) == 1
    assert told not in " ".join(own_metrics["notes"])


def test_a_bundle_that_cannot_tell_whose_a_volume_is_explains_nobody(trained: Path, tmp_path: Path) -> None:
    """Under other ids: each may be anybody."""
    shutil.copytree(trained / "run/train", tmp_path / "run/train")
    digests = sorted(holders_of(load_bundle(trained / "run/train/bundle").card.volumes))
    shutil.rmtree(tmp_path / "run/train/bundle")
    older(trained, tmp_path / "run/train/bundle", contents=digests)
    names = [name.replace("a", "x") for name in PEOPLE]
    with pytest.raises(SlicecacheError, match=r"24 volumes were in training .* train it again"):
        explained(tmp_path / "run", renamed(tmp_path / "x.zarr", names), names)
