"""A run folder, opened to be explained: the bundle that `train` left in it, its store and its labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aggregate.anomaly.study.bundle import is_detector_bundle
from aggregate.bags.bags import Bags
from aggregate.bags.beside import Beside, open_beside
from aggregate.bags.memory import open_bags
from aggregate.cohort.cohort import Cohort, load_cohort
from aggregate.common.run_folder import (
    CONFIG,
    find_bundle,
    pair_of,
    permit_bundle,
    place_of_pair,
    run_folder_of,
    verb_folder,
)
from aggregate.config.section import AggregateSection
from aggregate.predict.bundle import Bundle, load_bundle
from aggregate.predict.check import check_store, refuse_harmonised
from aggregate.targets.pairs import contrasts_of, narrowed
from cache_schema.common.errors import ConfigError
from cache_schema.common.pipeline_file import Pipeline, apply_override, validate
from cache_schema.common.prove import Prove
from cache_schema.common.text.mistakes import shown
from cache_schema.common.text.yaml_text import read_yaml
from cache_schema.files.disk.room import require_writable
from cache_schema.store.reader import StoreReader, open_store

READ = (
    *("cohort", "sheet", "where", "missing", "join", "sessions", "select", "combine", "split"),
    *("target", "tokens", "stores", "memory_gib"),
)
"""Keys of its section `aggregate` that are read; the head is the bundle's, whatever stands there."""


@dataclass(frozen=True, slots=True)
class TrainedStudy:
    """A finished training, with all that explaining it needs."""

    folder: Path
    """Where `explain` writes."""
    run_folder: Path
    bundle: Bundle
    bundle_folder: Path
    store: StoreReader
    beside: Beside
    cohort: Cohort
    bags: Bags
    pipeline: Pipeline
    """As the training understood it."""


def open_run(
    run: Path, overrides: Sequence[str] = (), allow_custom: bool = False, prove: Prove | None = None
) -> TrainedStudy:
    """Open a run folder, `train/` in it, or one of its contrasts.

    Args:
        run: Where it is.
        overrides: Of the training's own `config.yaml`, where store or table have moved.
        allow_custom: Import the custom part that the bundle names.
        prove: What numbers are held to.

    Raises:
        SlicecacheError: If there is no bundle of a head, or store or table cannot be used.
    """
    if run.name == "ablate" or ((run / "ablate").is_dir() and not (run / "train").exists()):
        raise ConfigError(
            f"{str(run)!r} holds an ablation, which keeps no weights: train the configuration in question, "
            "and explain that run"
        )
    found = find_bundle(run, ("train",)).absolute()
    if is_detector_bundle(found):
        raise ConfigError(f"{str(found)!r} is a bundle of detectors; their maps say where by themselves")
    run_folder = run_folder_of(found)
    if run_folder is None or not (found.parent / CONFIG).is_file():
        raise ConfigError(
            f"the bundle {str(found)!r} does not lie in a run folder beside its {CONFIG}, which says where "
            "store and labels are; give the run folder as train left it"
        )
    folder = place_of_pair(verb_folder(run_folder, "explain"), pair_of(found))
    require_writable(folder, "the run folder")
    if allow_custom:
        permit_bundle(found)
    bundle = load_bundle(found)
    refuse_harmonised(bundle.card, "explain")
    pipeline = read_config(found.parent / CONFIG, overrides)
    section = trained_section(pipeline)
    store = open_store(section.home(pipeline)[0], prove or pipeline.prove())
    beside = open_beside(section.beside(pipeline, bundle.card.tokens), store.prove)
    check_store(bundle.card, store.header, store.location, beside)
    refuse_harmonised(bundle.card, "explain")
    cohort = trained_cohort(bundle, section, pipeline, store, pair_of(found))
    bags = open_bags(store, bundle.card.tokens, cohort.entries, cohort.bag, section.memory_gib, beside)
    return TrainedStudy(folder, run_folder, bundle, found, store, beside, cohort, bags, pipeline)


def read_config(path: Path, overrides: Sequence[str]) -> Pipeline:
    """A training's own configuration; unlike a user's pipeline it permits no custom part.

    Raises:
        ConfigError: If it cannot be read, or an override is of what is not read here.
    """
    data = read_yaml(path, f"the configuration {str(path)!r}")
    if not isinstance(data, dict):
        raise ConfigError(f"{str(path)!r} must hold the sections that a training writes")
    for override in overrides:
        section, _, key = override.partition("=")[0].partition(".")
        if section != "cache" and not (section == "aggregate" and key.partition(".")[0] in READ):
            raise ConfigError(
                f"--set of explain says where things have moved, e.g. cache.store=PATH or "
                f"aggregate.cohort=PATH, not {shown(override)}; what was trained stays"
            )
        apply_override(data, override)
    return Pipeline(data, path.resolve().parent)


def trained_section(pipeline: Pipeline) -> AggregateSection:
    """What the training's section says of cohort and tokens; the rest may be of another version.

    Raises:
        ConfigError: If it is absent or has a wrong value.
    """
    data = pipeline.data.get("aggregate")
    if not isinstance(data, dict):
        raise ConfigError(f"the training's {CONFIG} has no section 'aggregate'")
    return validate(AggregateSection, {key: data[key] for key in READ if key in data}, "aggregate")


def trained_cohort(
    bundle: Bundle, section: AggregateSection, pipeline: Pipeline, store: StoreReader, pair: str | None
) -> Cohort:
    """The cohort as the training had it, narrowed where the bundle is of two of its classes.

    Raises:
        ConfigError: If its classes are not the bundle's.
    """
    cohort = load_cohort(section.cohort_request(pipeline), store)
    if pair is not None:
        own = {one.name: one for one in contrasts_of(section.target, cohort.classes)}
        if pair not in own:
            raise ConfigError(f"target.pairs of {CONFIG} names no contrast {pair!r}")
        cohort = narrowed(cohort, own[pair])
    if cohort.kind.classes != bundle.card.classes or cohort.kind.key != bundle.card.task:
        told = [" or ".join(classes) or "a number" for classes in (bundle.card.classes, cohort.kind.classes)]
        raise ConfigError(
            f"the bundle was trained for {told[0]}, and the table gives {told[1]}; is it the table that "
            "the training had? --set aggregate.cohort=PATH says where another lies"
        )
    return cohort
