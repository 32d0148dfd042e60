"""Several stores from one decoding: names, places, plans and neighbours that are not what they should be."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from attacks.inputs import listed
from attacks.scene import Answer, Attack, Scene, run
from attacks.scene_hostile import edit
from cache_schema.store.reader import open_store

STORES = {"main": {}, "wide": {"slices": {"kind": "all"}}}


def several(scene: Scene, *rows: str, cache: dict[str, object] | None = None, stores: object = None) -> Path:
    """A pipeline of one good volume and what else is listed, for two stores."""
    file = Path(listed(scene, "good\tgood.nii", *rows)[0])
    data = yaml.safe_load(file.read_text())
    data["extract"]["stores"] = STORES if stores is None else stores
    data["cache"] |= cache or {}
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    return file


def asked(**changes: object) -> Callable[[Scene], Sequence[str]]:
    return lambda scene: [str(several(scene, **changes))]  # type: ignore[arg-type]


def odd(scene: Scene) -> Sequence[str]:
    (scene.folder / "odd.nii").write_bytes(b"no image")
    return [str(several(scene, "odd\todd.nii"))]


def fails_in_one(scene: Scene) -> Sequence[str]:
    """A volume that one store's slice rule leaves nothing of."""
    stores = {"main": {}, "wide": {"slices": {"kind": "band", "from_vertex_mm": [900, 990]}}}
    return [str(several(scene, stores=stores))]


def another_lies_there(scene: Scene) -> Sequence[str]:
    """The second store's place holds one of another preprocessing."""
    file = several(scene)
    other = several(scene, stores={"main": {"canvas": 14}})
    assert run("extract", [str(other)]).code == 0
    shutil.move(scene.folder / "cache.zarr", scene.folder / "cache-wide.zarr")
    several(scene)
    return [str(file)]


def no_store_lies_there(scene: Scene) -> Sequence[str]:
    (scene.folder / "cache-wide.zarr").mkdir()
    (scene.folder / "cache-wide.zarr" / "mine.txt").write_text("thesis")
    return [str(several(scene))]


def a_link_lies_there(scene: Scene) -> Sequence[str]:
    """The place of the second store leads outside, to a folder that is no store."""
    (scene.folder / "cache-wide.zarr").symlink_to(scene.outside)
    return [str(several(scene))]


def kept(change: Callable[[list[dict[str, object]]], object]) -> Callable[[Scene], Sequence[str]]:
    """A plan of two stores, kept and then edited."""

    def arrange(scene: Scene) -> Sequence[str]:
        file = several(scene)
        assert run("plan", [str(file), "--create"]).code == 0
        place = scene.folder / "run" / "extract" / "plan.jsonl"
        lines = [json.loads(line) for line in place.read_text().splitlines()]
        change(lines)
        place.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return [str(file), "--shard", "0/1"]

    return arrange


def reads(tokens: str) -> Callable[[Scene], Sequence[str]]:
    def arrange(scene: Scene) -> Sequence[str]:
        file = several(scene)
        assert run("extract", [str(file)]).code == 0
        return [str(file), "--set", f"aggregate.tokens={tokens}"]

    return arrange


def of_plane(plane: str) -> Callable[[Scene], Sequence[str]]:
    def arrange(scene: Scene) -> Sequence[str]:
        store = scene.archived("unsealed.zarr")
        edit(store / "header.json", lambda header: header["fingerprint"].update(plane=plane))
        return [str(store)]

    return arrange


def in_both(scene: Scene, answer: Answer) -> None:
    for name in ("cache.zarr", "cache-wide.zarr"):
        assert [entry.key.participant_id for entry in open_store(scene.folder / name).entries] == ["good"]
    rows = (scene.folder / "run" / "failures.tsv").read_text().splitlines()
    assert [row.split("\t")[-1] for row in rows] == ["store", "main", "wide"]


def in_the_other(scene: Scene, answer: Answer) -> None:
    assert len(open_store(scene.folder / "cache.zarr").entries) == 1
    assert not open_store(scene.folder / "cache-wide.zarr").entries


def nothing_embedded(scene: Scene, answer: Answer) -> None:
    store = scene.folder / "cache.zarr"
    assert not store.exists() or not open_store(store).entries


ONE_PLACE = {"stores": {"wide": "cache.zarr"}}
ATTACKS = [
    Attack("a file that is no image, for two stores", "extract", odd, "odd/odd", 1, check=in_both),
    Attack("a volume that one of two stores cannot use", "extract", fails_in_one, "keeps no slice", 1,
           check=in_the_other),
    Attack("a store's name that leads elsewhere", "extract", asked(stores={"../../outside": {}}),
           r"extract\.stores"),
    Attack("stores that are a list", "extract", asked(stores=["main", "wide"]), r"extract\.stores: "),
    Attack("two stores in one place", "extract", asked(cache=ONE_PLACE),
           "'main' and 'wide' lie in one place"),
    Attack("a place for a store that nobody names", "extract", asked(cache={"stores": {"wid": "x.zarr"}}),
           "unknown key 'wid' in cache.stores"),
    Attack("a store of another preprocessing where the second lies", "extract", another_lies_there,
           "was made otherwise", check=nothing_embedded),
    Attack("a folder of somebody's where the second store lies", "extract", no_store_lies_there,
           "cache-wide", check=nothing_embedded),
    Attack("a link to elsewhere where the second store lies", "extract", a_link_lies_there, "cache-wide",
           check=nothing_embedded),
    Attack("a kept plan whose volume lacks a store", "extract", kept(lambda lines: lines[1].pop("others")),
           "plan.jsonl.*plan --create"),
    Attack("a kept plan of one store fewer", "extract", kept(lambda lines: lines[0].pop("longest")),
           "plan.jsonl.*plan --create"),
    Attack("a kept plan with slices below 0 in the second store", "extract",
           kept(lambda lines: lines[1].update(others=[-3])), "plan.jsonl.*plan --create"),
    Attack("tokens of a store that nobody names", "train", reads("wode:cls"), "did you mean 'wide'"),
    Attack("a plane that is none", "cache inspect", of_plane("oblique"), "plane"),
]  # fmt: skip
