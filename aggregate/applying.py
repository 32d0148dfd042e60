"""The command that applies a finished bundle, `predict`. Nothing heavy is imported before."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from aggregate.options import (
    AllowUnlike,
    BesideStores,
    BundlePlace,
    CheckpointFolder,
    ImagePlaces,
    LabelTable,
    Maps,
    MaybeStore,
    PeopleTable,
    SetExtract,
    embedded_place,
    named_stores,
)
from cache_schema.common.errors import ConfigError
from cache_schema.common.terminal.command import WARNING
from cache_schema.common.terminal.options import (
    AllowCustom,
    AsJson,
    PoolEngine,
    ProveWith,
    Scheduler,
    SiteFile,
)
from cache_schema.common.terminal.visible import visible
from cache_schema.common.text.counts import counted

if TYPE_CHECKING:
    from pandas import DataFrame

    from aggregate.anomaly.study.predict import Judge
    from cache_schema.cluster.pool import DaskPool
    from cache_schema.common.prove import Prove
    from cache_schema.store.reader import StoreReader
    from cache_schema.store.wanted import StoreMaker


def predict(
    context: typer.Context,
    bundle: BundlePlace,
    overrides: SetExtract,
    store: MaybeStore = None,
    images: ImagePlaces = None,
    backbone: CheckpointFolder = None,
    cohort: PeopleTable = None,
    out: LabelTable = None,
    maps: Maps = None,
    beside: BesideStores = None,
    allow_unlike_reference: AllowUnlike = False,
    allow_custom: AllowCustom = False,
    prove: ProveWith = None,
    engine: PoolEngine = "local",
    site: SiteFile = None,
    scheduler: Scheduler = None,
    as_json: AsJson = False,
) -> int:
    """Apply the trained BUNDLE, of heads or of detectors, to every volume of STORE, or to images.

    A participant who was in training is scored only by members that did not see them. Images that cannot be
    embedded are listed in failures.tsv, and the rest is predicted for.
    """
    from aggregate.cohort.turnout import shortfall_of
    from aggregate.common.artefacts import csv_text, write_text
    from aggregate.common.run_folder import find_bundle, permit_bundle
    from cache_schema.cluster.pool import asked_pool
    from cache_schema.files.disk.room import require_target, require_writable

    if images is None and (store is None or backbone is not None or overrides):
        raise ConfigError("predict takes a STORE, or --images PATH; --backbone and --set are for --images")
    if out is not None:
        require_target(out, "--out")
    if maps is not None:
        require_writable(maps, "the folder of --maps")
    pool = asked_pool(engine, scheduler, site, Path.cwd())
    folder = find_bundle(bundle)
    if allow_custom:
        permit_bundle(folder)
    proof = prove or "crc32c"
    detectors = _of_detectors(folder, maps, beside, cohort, pool)
    made = None
    if images is not None:
        made = context.obj(images, *embedded_place(store, out, maps), backbone, overrides)
    reader = _opened(folder, made, store, proof)
    familiarity = None
    if detectors:
        judge = _judge(pool, folder, proof, allow_custom)
        table = _predict_detectors(folder, reader, maps, allow_unlike_reference, judge)
    else:
        table, familiarity = _predict_heads(folder, reader, beside or [], cohort)
    if out is not None:
        write_text(out, csv_text(table))
    shortfall = shortfall_of(reader)
    if shortfall.missing:
        typer.echo(visible(shortfall.of_predictions()), err=True)
    if as_json:
        rows = json.loads(table.to_json(orient="records"))
        left_out = [asdict(item) for item in shortfall.missing]
        found = {"familiarity": familiarity} if familiarity is not None else {}
        found |= {"extract": made.as_json()} if made is not None else {}
        typer.echo(json.dumps({"predictions": rows, "left_out": left_out, **found}))
    elif out is None:
        typer.echo(csv_text(table), nl=False)
    else:
        typer.echo(f"{counted(len(table), 'volume')} -> {out}")
    return 1 if made is not None and made.failed else 0


def _of_detectors(
    bundle: Path,
    maps: Path | None,
    beside: list[str] | None,
    cohort: Path | None,
    pool: "DaskPool | None",
) -> bool:
    """Whether a bundle is of detectors and not of heads.

    Raises:
        ConfigError: If an option is for the other kind, before anything takes long.
    """
    from aggregate.anomaly.study.bundle import is_detector_bundle

    detectors = is_detector_bundle(bundle)
    if detectors and (beside or cohort):
        option = "--beside" if beside else "--cohort"
        raise ConfigError(f"{option} is for a bundle of heads, and {str(bundle)!r} is of detectors")
    if pool is not None and not detectors:
        raise ConfigError(
            f"{str(bundle)!r} is a bundle of heads, and --engine dask is for detectors: heads read 2,000 "
            "volumes in about 10 s; leave it out"
        )
    if maps is not None and not detectors:
        raise ConfigError(f"--maps is for a bundle of detectors, and {str(bundle)!r} is none")
    return detectors


def _opened(bundle: Path, made: "StoreMaker | None", store: str | None, proof: "Prove") -> "StoreReader":
    """The store, or the one that is made of images for this bundle."""
    from aggregate.anomaly.study.wanted import wanted_by
    from cache_schema.store.reader import open_store

    if made is None:
        return open_store(str(store), proof)
    reader = made.store_for(wanted_by(bundle), proof)
    typer.echo(visible(made.told()), err=True)
    return reader


def _judge(pool: "DaskPool | None", bundle: Path, proof: "Prove", allow_custom: bool) -> "Judge | None":
    """Who scores volumes, where that is not this process."""
    if pool is None:
        return None
    from aggregate.anomaly.study.predict_over_dask import DaskJudge

    return DaskJudge(pool, bundle, proof, allow_custom)


def _predict_heads(
    bundle: Path, store: "StoreReader", beside: list[str], cohort: Path | None
) -> "tuple[DataFrame, dict[str, Any]]":
    """A head's predictions, and how the volumes compare with its training cohort."""
    from aggregate.bags.beside import open_beside
    from aggregate.predict.bundle import load_bundle
    from aggregate.predict.predict import predict_and_compare

    others = open_beside(named_stores(beside), store.prove)
    found = predict_and_compare(load_bundle(bundle), store, others, cohort)
    for sentence in found.comparison.lines():
        typer.echo(visible(sentence), err=True)
    return found.table, found.comparison.summary


def _predict_detectors(
    bundle: Path, store: "StoreReader", maps: Path | None, allow_unlike: bool, judge: "Judge | None"
) -> "DataFrame":
    """Detectors' scores; warnings go to standard error."""
    from aggregate.anomaly.study.bundle import load_detectors
    from aggregate.anomaly.study.predict import predict_detectors

    table, warnings = predict_detectors(
        load_detectors(bundle), store, maps=maps, allow_unlike=allow_unlike, judge=judge
    )
    for sentence in warnings:
        typer.echo(f"{WARNING}{sentence}", err=True)
    return table
