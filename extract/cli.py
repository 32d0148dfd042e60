"""The commands of stage one: `plan` and `extract`. Nothing heavy is imported before one runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cache_schema.common.errors import ConfigError
from cache_schema.common.terminal.options import AsJson, PipelineFile, Scheduler, SetValues, SiteFile
from extract.cluster.options import DryRun, Engine, PackAtTheEnd, refuse_elsewhere
from extract.said import (
    describe_extraction,
    describe_plan,
    describe_stores,
    plan_json,
    store_bytes,
    stores_json,
)

if TYPE_CHECKING:
    from cache_schema.common.pipeline_file import Pipeline
    from extract.planning.config import ExtractSection


def read_extract_section(pipeline: Pipeline) -> ExtractSection:
    """The validated `extract` section.

    Raises:
        ConfigError: Naming what is wrong in it.
    """
    from extract.planning.config import ExtractSection

    return pipeline.section("extract", ExtractSection)


Create = Annotated[
    bool,
    typer.Option(
        "--create",
        help="Also create the store with a row for every volume, and keep the plan in the run folder, so "
        "that tasks with --shard need not look at the input again. Builds the backbone once.",
    ),
]


Measure = Annotated[
    bool,
    typer.Option(
        "--measure",
        help="Estimate hours from this machine, by decoding one volume and embedding its slices for 1 s.",
    ),
]
RateOption = Annotated[
    str | None,
    typer.Option(
        "--rate",
        metavar="DEVICE|N",
        help="Estimate hours for another machine: cpu, t4, gpu, or N slices a second.",
    ),
]


def plan(
    context: typer.Context,
    pipeline: PipelineFile,
    overrides: SetValues,
    create: Create = False,
    measure: Measure = False,
    rate: RateOption = None,
    as_json: AsJson = False,
) -> int:
    """Say what PIPELINE would embed, what it cannot and why, how large the store gets, and how long it takes.

    Reads file headers only, and with --measure one volume.
    """
    import json

    from cache_schema.common.lazy_names import imported
    from cache_schema.common.pipeline_file import load_pipeline
    from extract.effort.estimating import estimated
    from extract.init.foretold import FORESEEN
    from extract.planning.config import asked_stores
    from extract.planning.for_store import plan_for_stores, plan_of_each
    from extract.planning.stated import each_with_stated_canvas

    if measure and rate is not None:
        raise ConfigError("--measure times this machine, and --rate states another: say one of them")
    loaded = load_pipeline(pipeline, overrides)
    section = read_extract_section(loaded)
    asked = each_with_stated_canvas(asked_stores(loaded, section), loaded.base, fetch=create)
    if create:
        from extract.extraction import create_planned

        plans = create_planned(loaded, section)
    else:
        plans = plan_of_each(plan_for_stores(asked, loaded.base), asked)
    sizes = [store_bytes(each.section, loaded.base, plan) for each, plan in zip(asked, plans, strict=True)]
    made, size, created = plans[0], sizes[0], loaded.store() if create else ""
    several = list(zip(asked, plans, sizes, strict=True)) if section.stores else []
    needs = estimated(asked, plans, loaded.base, rate, measure)
    keys = [volume.candidate.key for volume in made.embeddable]
    cohort = imported(context.meta[FORESEEN])(loaded, keys) if FORESEEN in context.meta else None
    if as_json:
        more: dict[str, Any] = {"stores": stores_json(several)} if several else {}
        more["needs"] = needs.as_json()
        more |= {} if cohort is None else {"cohort": cohort.as_json()}
        typer.echo(json.dumps({**plan_json(made, size), **more, **({"created": created} if created else {})}))
    else:
        typer.echo("\n".join([describe_plan(made, size), *describe_stores(several), needs.sentence()]))
        if cohort is not None:
            typer.echo(cohort.in_words())
        if created:
            every = ", ".join(each.location for each in asked)
            typer.echo(f"created {every}; `slicecache extract {pipeline} --shard I/N` embeds a share of it")
    return 1 if made.refused else 0


Replace = Annotated[
    bool,
    typer.Option(
        "--replace",
        help="Embed volumes again whose file, mask, header, orientation or spacing has changed, or whose "
        "embeddings are damaged in the store.",
    ),
]
CheckHashes = Annotated[
    bool,
    typer.Option(
        "--check-hashes",
        help="Read all bytes of what committed volumes were made from; without it only those of files "
        "whose size, times or inode are not what they were.",
    ),
]

NoFsync = Annotated[
    bool,
    typer.Option(
        "--no-fsync",
        help="Do not wait for the disk: for scratch disks, whose content nobody needs after a power failure.",
    ),
]


Readmit = Annotated[
    list[str],
    typer.Option(
        "--readmit",
        metavar="PARTICIPANT",
        default_factory=list,
        show_default=False,
        help="Take back who was withdrawn by `cache remove`, and embed them again; may be said again.",
    ),
]


ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Embed one of N shares, I from 0, of the plan that `plan --create` keeps; auto/N takes I from "
        "SLURM_ARRAY_TASK_ID, and auto N from the array, too.",
    ),
]


def extract(
    pipeline: PipelineFile,
    overrides: SetValues,
    readmit: Readmit,
    shard: ShardOption = None,
    replace: Replace = False,
    check_hashes: CheckHashes = False,
    no_fsync: NoFsync = False,
    engine: Engine = "local",
    site: SiteFile = None,
    dry_run: DryRun = False,
    pack: PackAtTheEnd = True,
    scheduler: Scheduler = None,
    as_json: AsJson = False,
) -> int:
    """Read every volume of PIPELINE once and commit its embeddings to the store.

    Run it again after any interruption: it goes on from what is committed. Participants who were withdrawn
    from the store are left out.
    """
    import json
    import os

    # Before torch is loaded: threads that wait for a product by spinning keep the cores that decoding needs.
    # With it a small backbone on two busy cores went from 25-37 to 165-171 slices/s.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")

    from cache_schema.common.pipeline_file import load_pipeline
    from extract.extraction import run_extraction as run_extract
    from extract.planning.shard import parse_shard, undivided

    share = None if shard is None else parse_shard(shard, os.environ)
    if share is not None and readmit:
        raise ConfigError(
            "--readmit takes back for a whole extraction, not for one share: run it without --shard once"
        )
    typed = {"--shard": shard, "--site": site, "--dry-run": dry_run, "--scheduler": scheduler}
    refuse_elsewhere(engine, typed | {"--no-pack": not pack})
    said = {"replace=true": replace, "check_hashes=true": check_hashes, "fsync=false": no_fsync}
    overrides = [*overrides, *(f"extract.{value}" for value, given in said.items() if given)]
    loaded = load_pipeline(pipeline, overrides)
    section = read_extract_section(loaded)
    if engine == "slurm":
        from extract.cluster.slurm import by_slurm
        from extract.cluster.tasks import Asked

        asked = Asked(pipeline, tuple(overrides), tuple(readmit), site, pack)
        return by_slurm(loaded, section, asked, dry_run, as_json)
    embeds = None
    if engine == "dask":
        from extract.cluster.for_dask import dask_engine

        embeds = dask_engine(loaded, section, site, scheduler)
    elif share is None and (unsaid := undivided(os.environ)):
        typer.echo(unsaid, err=True)
    outcome = run_extract(loaded, section, readmit=readmit, shard=share, engine=embeds)
    typer.echo(json.dumps(outcome.as_json()) if as_json else describe_extraction(outcome))
    return 0 if outcome.complete else 1
