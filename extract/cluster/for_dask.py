"""`extract --engine dask`: from a pipeline and a site file to the engine."""

from pathlib import Path

import torch

from cache_schema.cluster.host import require_dask, worker_host
from cache_schema.cluster.site import find_site
from cache_schema.common.pipeline_file import Pipeline
from extract.engines.over_dask.engine import DaskEngine
from extract.extraction import Engine
from extract.planning.config import ExtractSection, asked_stores


def dask_engine(
    pipeline: Pipeline, section: ExtractSection, site: Path | None, scheduler: str | None
) -> Engine:
    """The engine that gives the volumes to the workers of a dask scheduler.

    Args:
        pipeline: Says where the run folder is, which the nodes see too.
        section: Its `extract` section.
        site: The site file, if one was named.
        scheduler: Address of a scheduler that somebody has started, instead of starting one.

    Raises:
        ConfigError: If the site file says something that cannot be meant, or dask is not installed.
    """
    require_dask()
    found = find_site(site)
    cpu_only = all(each.section.device == "cpu" for each in asked_stores(pipeline, section))
    host = worker_host(found, cpu_only, torch.cuda.device_count())
    return DaskEngine(found.site.dask, host, scheduler, pipeline.folder() / "extract")
