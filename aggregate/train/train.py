"""Stage two from a pipeline to the run folder's `train/`: cohort, folds, runs, statistics, files."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from aggregate.baselines.baselines import Baseline, make_baselines
from aggregate.baselines.confounds import site_by_label, site_warnings
from aggregate.baselines.names import linear_model
from aggregate.common.artefacts import csv_text, log_to, write_json, write_text, write_yaml
from aggregate.common.run_folder import BUNDLE, FIGURES, METRICS_FILE, verb_folder
from aggregate.config.resolved import resolved
from aggregate.config.section import AggregateSection
from aggregate.evaluate.results import write_confusion, write_curves
from aggregate.predict.bundle import Bundle, save_bundle
from aggregate.shortcuts.adjusted import adjusted_facts
from aggregate.shortcuts.shortcuts import Shortcuts, look_for_shortcuts
from aggregate.statistics.cautions import below_guessing_notes, few_folds
from aggregate.statistics.evaluate import Measured, OutOfFold, measure_folds
from aggregate.targets.pairs import Contrast, contrasts_of, target_of
from aggregate.train.assemble import (
    all_outputs,
    attention_frame,
    make_bundle,
    metrics_json,
    previews,
    run_notes,
    training_summary_of,
)
from aggregate.train.brier import BRIER, brier_facts
from aggregate.train.calibrated import calibration_facts
from aggregate.train.case import Case, CaseTokens, open_case, open_tokens
from aggregate.train.crossval import Trained, run_specs
from aggregate.train.embedding_map import embedding_map
from aggregate.train.external import judge_outside
from aggregate.train.harmonised import cross_validate_on, harmonised_baselines
from aggregate.train.history import history_of
from aggregate.train.null import shuffled_null
from aggregate.train.pairs import contrast_json, forget, pairs_json
from aggregate.train.predictions import predictions
from aggregate.train.products import settled, with_arithmetic
from aggregate.train.results import EXTERNAL, Results
from aggregate.train.starts import start_facts
from aggregate.training.probe import Work
from cache_schema.common.pipeline_file import Pipeline
from cache_schema.common.terminal.called import told_command
from cache_schema.common.terminal.progress import bar


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
    case = open_case(pipeline, section, contrast)
    cohort, store = case.cohort, case.store
    with log_to(case.folder) as logger:
        n_bags, n_folds = len(cohort.frame), len(case.folds)
        logger.info("%d participants, %d bags, %d folds", cohort.n_participants(), n_bags, n_folds)
        tokens = open_tokens(case)
        case = multiplying(case, tokens)
        section = case.section
        shortcuts = shortcuts_of(case, tokens)
        trained, baselines = train_case(case, tokens)
        outputs = all_outputs(trained, baselines, case.folds)
        measured = {name: measure_folds(cohort, out) for name, out in outputs.items()}
        n_shuffles = max(shuffle_labels, section.shuffle_labels)
        metrics = case_metrics(case, tokens, outputs, measured, trained, n_shuffles) | shortcuts.facts
        metrics |= brier_facts(case, tokens, trained, baselines)
        notes = [*run_notes(section.folds, cohort, case.folds, baselines), *metrics["training"]["said"]]
        notes += [metrics[BRIER]["said"]] if BRIER in metrics else []
        notes += [*shortcuts.notes, *below_guessing_notes(measured.values())]
        site = site_by_label(cohort, section.site)
        doubts = few_folds(measured[trained.outputs[0].configuration])
        metrics["warnings"] = [*cohort.warnings, *site_warnings(site), *shortcuts.warnings, *doubts]
        bundle = bundle_of(case, tokens, trained, baselines, metrics)
        evaluation = judge_outside(bundle, case.external, metrics, section.memory_gib)
        results = Results(
            folder=case.folder,
            command=told_command("train"),
            config=resolved(pipeline, section),
            metrics=metrics,
            predictions=predictions(cohort, list(outputs.values()), evaluation, contrast),
            cohort=cohort.frame,
            classes=cohort.classes,
            turnout=cohort.turnout,
            header=store.header,
            content_digest=store.content_digest(),
            previews=previews(store, cohort),
            attention=attention_frame(cohort, tokens.bags, trained),
            history=history_of(trained.runs),
            site_by_label=site,
            notes=notes,
            warnings=metrics["warnings"],
            embedding=embedding_map(cohort, tokens.pooled, section.site),
            external=evaluation,
        )
        for sentence in filter(None, [*results.warnings, cohort.turnout.line(), *results.notes]):
            logger.info(sentence)
        save_bundle(case.folder / BUNDLE, bundle)
    return results


def multiplying(case: Case, tokens: CaseTokens) -> Case:
    """The case with what multiplies its slices, and where, settled; contrasts obey the whole one's."""
    setup, bags = case.setup, tokens.bags

    def works() -> list[Work]:
        runs = run_specs(setup, [fold for fold in case.folds if tokens.harmoniser is None] or case.folds[:1])
        return [Work(setup.head, runs, bags.keep.shape[1], bags.x.shape[2])]

    train = settled(verb_folder(case.pipeline.folder(), "train"), case.section.train, works, bags.x.dtype)
    section = case.section.model_copy(update={"train": train})
    return replace(case, section=section, setup=with_arithmetic(setup, train))


def shortcuts_of(case: Case, tokens: CaseTokens) -> Shortcuts:
    """What else the tokens tell, as the head will see them."""
    vectors = None if tokens.harmoniser is None else tokens.harmoniser.vectors
    return look_for_shortcuts(case.cohort, tokens.pooled, case.section.site, vectors)


def train_case(case: Case, tokens: CaseTokens) -> tuple[Trained, list[Baseline]]:
    """The head's runs, with a bar, and the baselines."""
    section, cohort, bags, folds = case.section, case.cohort, tokens.bags, case.folds
    told = "training" if case.contrast is None else f"training {case.contrast.name}"
    with bar(told) as progress:
        trained = cross_validate_on(case.setup, cohort, bags, folds, tokens.harmoniser, progress)
    plain = make_baselines(
        cohort, bags, folds, section.baselines, section.confounds, section.site, tokens.pooled
    )
    return trained, harmonised_baselines(plain, cohort, bags, folds, tokens.harmoniser)


def case_metrics(
    case: Case,
    tokens: CaseTokens,
    outputs: dict[str, Sequence[OutOfFold]],
    measured: dict[str, Measured],
    trained: Trained,
    n_shuffles: int,
) -> dict[str, Any]:
    """The content of `metrics.json`, but for warnings and the external cohort."""
    section, cohort = case.section, case.cohort
    metrics = metrics_json(case.setup.seeds, cohort, case.store, outputs, measured, tokens.beside)
    if n_shuffles:
        metrics["null"] = _null(
            case, tokens, metrics["metrics"][cohort.kind.primary.name]["value"], n_shuffles
        )
    metrics["training"] = start_facts(trained.runs, linear_model(cohort.kind.bar))
    metrics["training"] |= {"products": case.setup.train.products, "device": case.setup.train.device}
    if cohort.kind.calibrates:
        metrics["calibration"] = calibration_facts(trained.runs, trained.outputs)
    metrics |= adjusted_facts(cohort, trained.outputs, section.confounds, section.site)
    if case.contrast is not None:
        metrics["contrast"] = contrast_json(case.contrast, measured[trained.outputs[0].configuration])
    return metrics


def _null(case: Case, tokens: CaseTokens, observed: float, n: int) -> dict[str, Any]:
    """What chance gives, with a bar."""
    section = case.section
    with bar("shuffled labels") as progress:
        return shuffled_null(
            case.setup,
            section.folds,
            section.leave_group_out,
            case.cohort,
            tokens.bags,
            observed,
            n,
            progress,
            tokens.harmoniser,
        )


def bundle_of(
    case: Case, tokens: CaseTokens, trained: Trained, baselines: Sequence[Baseline], metrics: dict[str, Any]
) -> Bundle:
    """What is applied to others."""
    section, contrast = case.section, case.contrast
    target = section.target if contrast is None else target_of(section.target, contrast)
    summary = training_summary_of(case.setup, target, section.folds, trained, metrics, section.join)
    bundle = make_bundle(
        case.setup,
        case.cohort,
        case.store,
        case.folds,
        trained,
        tokens.bags,
        summary,
        tokens.beside,
        baselines,
        section.test_views,
    )
    if tokens.harmoniser is None:
        return bundle
    kept = tokens.harmoniser.kept(case.folds)
    return replace(bundle, card=bundle.card.model_copy(update={"harmonised": kept.card}), harmonised=kept)


def write_results(results: Results) -> None:
    """Write the verb's files; `metrics.json` is last, so that its presence means all is there."""
    folder = results.folder
    write_yaml(folder / "config.yaml", results.config)
    write_text(folder / "predictions.csv", csv_text(results.predictions))
    write_confusion(folder, results.metrics)
    if results.history is not None and len(results.history):
        (folder / FIGURES).mkdir(exist_ok=True)
        write_text(folder / FIGURES / "learning.csv", csv_text(results.history))
    if results.external is not None:
        write_curves(folder, results.external.curves, EXTERNAL)
        write_confusion(folder, results.external.metrics, EXTERNAL)
    write_json(folder / METRICS_FILE, results.metrics)
