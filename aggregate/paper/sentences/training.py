"""Head, loss and how they are trained."""

from collections.abc import Mapping
from typing import Any

from aggregate.config.section import parse_section
from aggregate.paper.finished import TO_FILL, Finished
from aggregate.paper.sentences.backbone import tokens
from aggregate.paper.sentences.words import cite, joined, parameters, told
from aggregate.report.text.words import named
from aggregate.training.spec import Training
from aggregate.training.steps.adam import EPSILON
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.terminal.visible import label
from cache_schema.common.text.counts import counted

HEADS: dict[str, tuple[str, ...]] = {
    "attention": ("ilse2018attention",),
    "gated_attention": ("ilse2018attention",),
    "linear_attention": ("lozupone2024axial",),
    "clam_sb": ("lu2021clam",),
    "dsmil": ("li2021dsmil",),
    "transmil_1d": ("shao2021transmil",),
    "smap": ("castromacias2024sm",),
    "mst": ("mullerfranzes2024mst",),
    "centre_gaussian": ("harvey2026normal",),
}
"""Where heads come from, by kind; the others are common knowledge, or ours."""
LOSSES: dict[str, tuple[str, ...]] = {
    "supcon": ("khosla2020supcon",),
    "class_variance": ("rafsani2025dinoatten3d",),
    "focal": ("lin2017focal",),
    "center": ("wen2016center",),
    "triplet": ("hermans2017triplet",),
    "corn": ("shi2023corn",),
    "cox": ("cox1972regression",),
    "normal_guidance": ("harvey2026normal",),
}
"""Likewise of terms of a loss."""
SYSTEMS = {
    "dinoatten3d": "rafsani2025dinoatten3d",
    "dinoatten3d_sum": "rafsani2025dinoatten3d",
    "dinoatten3d_released": "rafsani2025dinoatten3d",
    "mst": "mullerfranzes2024mst",
}
"""Of recipes."""
OPTIMISER_NAMES = {
    "adam": "Adam",
    "adamw": "AdamW",
    "adam_mini": "Adam-mini (one second moment for each tensor)",
}
OPTIMISERS = {
    "adam": "kingma2015adam",
    "adamw": "loshchilov2019adamw",
    "adam_mini": "zhang2024adammini",
}
COMBAT = ("johnson2007combat", "fortin2018combat")


def training(run: Finished) -> str:
    """All of one configuration."""
    own = run.section
    return joined(
        [
            tokens(run),
            recipe(own),
            head(own),
            loss(own),
            optimisation(run),
            start(run),
            harmonised(own),
            seeds(run),
        ]
    )


def recipe(section: Mapping[str, Any]) -> str:
    """The published system that several keys come from."""
    name = section.get("recipe")
    if not name:
        return ""
    source = f" {cite(SYSTEMS[name])}" if name in SYSTEMS else ""
    return f"Head, loss and training follow the recipe {named(str(name))}{source}, but for what is said here."


def head(section: Mapping[str, Any]) -> str:
    """What weighs the slices."""
    spec = section.get("head") or {}
    kind = str(spec.get("kind"))
    if kind == "custom":
        return f"Slices are combined by a head of our own, {label(str(spec.get('target')), 120)}: {TO_FILL}."
    source = f" {cite(*HEADS[kind])}" if kind in HEADS else ""
    return f"Slices are combined by the head {named(kind)}{source}{parameters(spec)}."


def loss(section: Mapping[str, Any]) -> str:
    """The weighted terms that are not 0."""
    return f"The loss is {loss_words(section.get('loss') or {})}."


def loss_words(terms: Mapping[str, Any]) -> str:
    """`1 × cross entropy + 0.5 × supcon [@khosla2020supcon] (temperature 0.07)`."""
    shown = []
    for name, term in terms.items():
        spec = term if isinstance(term, Mapping) else {"weight": term}
        weight = spec.get("weight")
        if weight in (None, 0) or isinstance(weight, bool):
            continue
        source = f" {cite(*LOSSES[name])}" if name in LOSSES else ""
        shown.append(f"{told(weight)} × {name.replace('_', ' ')}{source}{parameters(spec, 'weight')}")
    return " + ".join(shown) or TO_FILL


def resolved_training(run: Finished) -> Training | None:
    """How runs were trained, in numbers; None where the configuration cannot be read here."""
    try:
        section = parse_section(dict(run.section))
        return section.train.training(section.head, section.loss, int(run.metrics["n_bags"]))
    except (SlicecacheError, ValueError, KeyError, TypeError):
        return None


def optimisation(run: Finished) -> str:
    """Optimiser, rate, epochs and when a run stops."""
    found = resolved_training(run)
    if found is None:
        return f"Optimiser, learning rate and epochs: {TO_FILL}."
    name = OPTIMISER_NAMES[found.optimiser]
    said = run.said("train", "batch_size")
    whole = found.starts_at_baseline and not said
    batch = "the whole training part (512 bags at most)" if whole else counted(found.batch_size, "bag")
    rose = ", which rises over the first tenth of the steps and falls to zero by half a cosine"
    rate = f"{found.learning_rate:g}{rose if found.rate_schedule == 'cosine' else ''}"
    stop = (
        f"A run stopped after {counted(found.patience, 'epoch')} without a better validation "
        f"{'AUROC' if found.watch == 'auroc' else 'loss'}, its best weights kept; this was so where the "
        f"training "
        f"part held at least {told(run.said('folds', 'minimum_per_class'))} participants of each class."
        if found.patience
        else "No run was stopped early."
    )
    auto = run.said("train", "auto")
    # Epochs are cut short by patience or inner folds, and a rate that falls to zero never is.
    most = "" if found.rate_schedule == "cosine" and not found.patience else " at most"
    chosen = " Rate and epochs were chosen by inner folds of every training part." if auto else ""
    epsilon = f", an epsilon of {found.epsilon:g}" if found.epsilon != EPSILON else ""
    return (
        f"Runs were trained by {name} {cite(OPTIMISERS[found.optimiser])} with a rate of {rate}{epsilon}, a "
        f"weight decay of {found.weight_decay:g} and steps of {batch}, "
        f"for {counted(found.epochs, 'epoch')}{most}. "
        f"{stop}{chosen}"
    )


def start(run: Finished) -> str:
    """Where training starts."""
    found = resolved_training(run)
    if found is None or not found.starts_at_baseline:
        return ""
    said = (run.metrics.get("training") or {}).get("said") or []
    more = " ".join(f"{str(sentence)[:1].upper()}{str(sentence)[1:].rstrip('.')}." for sentence in said)
    first = (
        "Pooled vectors were standardised on the training bags, and the head started at the penalised linear "
        "solution on mean pooled vectors, whose strength inner folds chose, with even attention."
    )
    return f"{first} {more}".strip()


def harmonised(section: Mapping[str, Any]) -> str:
    """What was taken out of the tokens."""
    spec = section.get("harmonise")
    if not spec:
        return ""
    return (
        "The site's shift and scale were taken out of the tokens by ComBat "
        f"{cite(*COMBAT)}, in every fold learnt from its training "
        f"part{parameters(spec)}."
    )


def harmonised_of(run: Finished) -> str:
    """The same, of a run."""
    return harmonised(run.section)


def seeds(run: Finished) -> str:
    """Trainings per fold."""
    n = run.metrics.get("n_seeds")
    if not n:
        return ""
    return f"Each fold was trained with {counted(int(n), 'seed')}" + (
        "." if n == 1 else ", averaged before any test."
    )


def labelled(run: Finished, name: str) -> str:
    """What a configuration is called in tables: its `label`, or its name."""
    found = (run.metrics["ablation"].get("configurations") or {}).get(name) or {}
    return str(found.get("label") or named(name))
