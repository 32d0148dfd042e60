"""The house's words, each with its meaning: what pages say of a word where it is first used."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Word:
    """One word of the glossary."""

    name: str
    meaning: str
    forms: str
    """A regular expression of how it is written in a sentence."""


def _word(name: str, meaning: str, forms: str = "") -> Word:
    """A word that may start a sentence and be a plural, unless its forms are said."""
    first = f"[{name[0].upper()}{name[0]}]" if name[0].islower() else name[0]
    return Word(name, meaning, forms or f"{first}{name[1:]}s?")


GLOSSARY = (
    _word(
        "out-of-fold", "said by a model that did not see the participant in training", "[Oo]ut[- ]of[- ]fold"
    ),
    _word("reference group", "the participants whom a detector takes for normal, named beforehand"),
    _word("anomaly score", "how unlike the reference group something is: higher is more anomalous"),
    _word("anomaly map", "an anomaly score for every place of a volume"),
    _word("volume", "one 3D image of a participant"),
    _word("slice", "one plane of a volume; what the backbone sees"),
    _word(
        "vertex",
        "the top of the head: the highest slice with at least 5 cm² of foreground, where heights start",
    ),
    _word("foreground", "what is not background: a mask, what a stripped image holds, or the whole head"),
    _word("backbone", "the frozen network that turns slices into numbers", "[Bb]ackbones?"),
    _word("patch", "a small square of a slice, the backbone's unit of sight", "[Pp]atch(?:es)?"),
    _word("token", "numbers that the backbone gives for a slice (CLS) or for one of its patches"),
    _word("embedding", "the numbers that the backbone makes of an image"),
    _word("store", "the cache that keeps every embedding, so that the backbone runs once"),
    _word(
        "fingerprint",
        "a digest of backbone and preprocessing: the same one means the same numbers were meant",
    ),
    _word("bag", "the slices of one participant's session, judged together"),
    _word("head", "the small model trained on stored embeddings, one score per bag", "[Hh]eads?(?! size)"),
    _word("attention", "the weights by which a head adds up the slices of a bag", "[Aa]ttention"),
    _word("logits", "a score before it becomes a probability; 0 is one half", "[Ll]ogits?"),
    _word("fold", "one of the parts that take turns as test participants"),
    _word("detector", "a model of what is normal, which scores what is not"),
    _word("bundle", "the trained models in files, for use on other stores"),
    _word("AUROC", "how often a positive scores above a negative: 0.5 is guessing, 1 is perfect", "AUROC"),
    _word("PPV", "positive predictive value: how many of those called positive are", "PPV"),
    _word("ECE", "expected calibration error: how far shares lie from the probabilities said", "ECE"),
)
"""In the order in which a sentence is searched: longer words before those that they hold."""
