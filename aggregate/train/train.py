"""Stage two from a pipeline to the run folder's `train/`: cohort, folds, runs, statistics, files."""

import shlex
import shutil
import sys
from dataclasses import replace
from typing import Any

from aggregate.bags.bags import Bags
from aggregate.bags.beside import open_beside
from aggregate.bags.memory import open_bags
from aggregate.baselines.baselines import make_baselines, mean_pool
from aggregate.baselines.confounds import site_by_label, site_warnings
from aggregate.cohort.cohort import Cohort, load_cohort
from aggregate.cohort.folds import make_folds
from aggregate.common.artefacts import csv_text, log_to, write_json, write_text, write_yaml
from aggregate.common.run_folder import BUNDLE, METRICS_FILE, place_of_pair, verb_folder
from aggregate.config.resolved import resolved
from aggregate.config.section import AggregateSection
from aggregate.config.setup import TrainingSetup
from aggregate.evaluate.results import write_confusion, write_curves
from aggregate.harmonise.harmoniser import Harmoniser, harmoniser_of
from aggregate.predict.bundle import save_bundle
from aggregate.shortcuts.adjusted import adjusted_facts
from aggregate.shortcuts.shortcuts import look_for_shortcuts
from aggregate.statistics.cautions import below_guessing_notes, few_folds
from aggregate.statistics.evaluate import measure_folds
from aggregate.targets.pairs import Contrast, contrasts_of, narrowed, target_of
from aggregate.train.assemble import (
    all_outputs,
    attention_frame,
    make_bundle,
    metrics_json,
    previews,
    run_notes,
    training_summary_of,
)
from aggregate.train.external import judge_outside, open_external_cohort
from aggregate.train.harmonised import cross_validate_on, harmonised_baselines
from aggregate.train.null import shuffled_null
from aggregate.train.pairs import contrast_json, forget, pairs_json
from aggregate.train.predictions import predictions
from aggregate.train.results import EXTERNAL, Results
from aggregate.train.starts import start_facts
from cache_schema.common.pipeline_file import Pipeline
from cache_schema.common.terminal.progress import bar
from cache_schema.files.disk.room import require_writable
from cache_schema.store.reader import open_store

NO_BUNDLE = (
    "tokens were harmonised, which takes everybody's site and what is preserved, and a bundle cannot do that "
    "yet: none was written"
)


def train_pipeline(pipeline: Pipeline, section: AggregateSection, shuffle_labels: int = 0) -> Results:
    """Train and compare; everything but the report goes to `train/` in the run folder.

    Args:
        pipeline: Names the store and the run folder.
        section: What to do.
        shuffle_labels: Permutations of the labels to train on beside, if more than the section says.

    With `target.pairs` each contrast has a folder like the whole one's in `pairs/`, and a row in its metrics.

    Raises:
        SlicecacheError: If the store, the table or the section cannot be used as asked.
    """
    results = train_cohort(pipeline, section, shuffle_labels)
    forget(results.folder)
    for contrast in contrasts_of(section.target, results.classes):
        results.contrasts.append(train_cohort(pipeline, section, shuffle_labels, contrast))
        write_results(results.contrasts[-1])
    if results.contrasts:
        results.metrics["pairs"] = pairs_json([found.metrics for found in results.contrasts])
    write_results(results)
    return results


def train_cohort(
    pipeline: Pipeline, section: AggregateSection, shuffle_labels: int = 0, contrast: Contrast | None = None
) -> Results:
    """Train on the cohort, or on what a contrast narrows it to; of its folder log and bundle are written.

    Args:
        pipeline: As `train_pipeline` takes it.
        section: Likewise.
        shuffle_labels: Likewise.
        contrast: Two of the classes.
    """
    folder = place_of_pair(
        verb_folder(pipeline.folder(), "train"), None if contrast is None else contrast.name
    )
    require_writable(folder, "the run folder")
    location, tokens = section.home(pipeline)
    store = open_store(location, pipeline.prove())
    setup = replace(section.setup(), tokens=tokens)
    whole = load_cohort(section.cohort_request(pipeline), store)
    contrasts_of(section.target, whole.classes)  # what cannot be meant is said before anything is trained
    cohort = whole if contrast is None else narrowed(whole, contrast)
    setup = setup.for_classes(cohort.classes, whole.classes)
    folds = make_folds(cohort, section.folds, section.leave_group_out)
    external = open_external_cohort(pipeline, section, store, cohort, folds, contrast, whole.kind)
    with log_to(folder) as logger:
        n_bags, n_folds = len(cohort.frame), len(folds)
        logger.info("%d participants, %d bags, %d folds", cohort.n_participants(), n_bags, n_folds)
        beside = open_beside(section.beside(pipeline, setup.tokens), pipeline.prove())
        bags = open_bags(store, setup.tokens, cohort.entries, cohort.bag, section.memory_gib, beside)
        pooled = mean_pool(bags)
        harmoniser = harmoniser_of(section.harmonised, cohort, pooled, folds)
        vectors = None if harmoniser is None else harmoniser.vectors
        shortcuts = look_for_shortcuts(cohort, pooled, section.site, vectors)
        with bar("training" if contrast is None else f"training {contrast.name}") as progress:
            trained = cross_validate_on(setup, cohort, bags, folds, harmoniser, progress)
        baselines = harmonised_baselines(
            make_baselines(cohort, bags, folds, section.baselines, section.confounds, section.site, pooled),
            cohort,
            bags,
            folds,
            harmoniser,
        )
        outputs = all_outputs(trained, baselines, folds)
        measured = {name: measure_folds(cohort, out) for name, out in outputs.items()}
        metrics = metrics_json(setup.seeds, cohort, store, outputs, measured, beside)
        if n_shuffles := max(shuffle_labels, section.shuffle_labels):
            observed = metrics["metrics"][cohort.kind.primary.name]["value"]
            metrics["null"] = _null(setup, section, cohort, bags, observed, n_shuffles, harmoniser)
        metrics["training"] = start_facts(trained.runs)
        metrics |= shortcuts.facts | adjusted_facts(cohort, trained.outputs, section.confounds, section.site)
        if contrast is not None:
            metrics["contrast"] = contrast_json(contrast, measured[trained.outputs[0].configuration])
        notes = [*run_notes(section.folds, cohort, folds, baselines), *metrics["training"]["said"]]
        notes += [*shortcuts.notes, *below_guessing_notes(measured.values())]
        site = site_by_label(cohort, section.site)
        doubts = few_folds(measured[trained.outputs[0].configuration])
        metrics["warnings"] = [*cohort.warnings, *site_warnings(site), *shortcuts.warnings, *doubts]
        bundle = None
        if harmoniser is None:
            target = section.target if contrast is None else target_of(section.target, contrast)
            summary = training_summary_of(setup, target, section.folds, trained, metrics)
            bundle = make_bundle(setup, cohort, store, folds, trained, bags, summary, beside, baselines)
        evaluation = judge_outside(bundle, external, metrics, section.memory_gib)
        notes += [NO_BUNDLE] * (bundle is None)
        results = Results(
            folder=folder,
            command=shlex.join(["slicecache", *sys.argv[1:]]),
            config=resolved(pipeline, section),
            metrics=metrics,
            predictions=predictions(cohort, list(outputs.values()), evaluation, contrast),
            cohort=cohort.frame,
            classes=cohort.classes,
            turnout=cohort.turnout,
            header=store.header,
            content_digest=store.content_digest(),
            previews=previews(store, cohort),
            attention=attention_frame(cohort, bags, trained),
            site_by_label=site,
            notes=notes,
            warnings=metrics["warnings"],
            external=evaluation,
        )
        for sentence in [*results.warnings, cohort.turnout.line(), *results.notes]:
            logger.info(sentence)
        if bundle is None:
            shutil.rmtree(folder / BUNDLE, ignore_errors=True)  # an earlier one would pass for this one's
        else:
            save_bundle(folder / BUNDLE, bundle)
    return results


def _null(
    setup: TrainingSetup,
    section: AggregateSection,
    cohort: Cohort,
    bags: Bags,
    observed: float,
    n: int,
    harmoniser: Harmoniser | None,
) -> dict[str, Any]:
    """What chance gives, with a bar."""
    with bar("shuffled labels") as progress:
        return shuffled_null(
            setup,
            section.folds,
            section.leave_group_out,
            cohort,
            bags,
            observed,
            n,
            progress,
            harmoniser,
        )


def write_results(results: Results) -> None:
    """Write the verb's files; `metrics.json` is last, so that its presence means all is there."""
    folder = results.folder
    write_yaml(folder / "config.yaml", results.config)
    write_text(folder / "predictions.csv", csv_text(results.predictions))
    write_confusion(folder, results.metrics)
    if results.external is not None:
        write_curves(folder, results.external.curves, EXTERNAL)
        write_confusion(folder, results.external.metrics, EXTERNAL)
    write_json(folder / METRICS_FILE, results.metrics)
