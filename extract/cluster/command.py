"""What `extract --engine slurm` says."""

import json
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from cache_schema.common.pipeline_file import Pipeline
    from extract.cluster.slurm import Asked
    from extract.planning.config import ExtractSection


def by_slurm(
    pipeline: "Pipeline", section: "ExtractSection", asked: "Asked", dry_run: bool, as_json: bool
) -> int:
    """Hand in the jobs, or print the scripts."""
    from extract.cluster.slurm import FOLDER, extract_by_slurm, scripts_of

    if dry_run:
        scripts = scripts_of(pipeline, section, asked)
        if as_json:
            typer.echo(json.dumps({"engine": "slurm", "scripts": scripts}))
            return 0
        for name, text in scripts.items():
            typer.echo(f"# ---- {pipeline.folder() / FOLDER / name}\n{text}")
        return 0
    jobs = extract_by_slurm(pipeline, section, asked)
    typer.echo(json.dumps(jobs.as_json()) if as_json else jobs.in_words())
    return 0
