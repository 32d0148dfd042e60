"""Whether the weights of a backbone lie on this machine: asked before a job waits for them, without torch."""

from pathlib import Path

from extract.backbones.backbone import NamedBackbone


def weights_missing(spec: NamedBackbone, base: Path) -> str | None:
    """Why `extract` without network would find no weights, in one sentence that says what to do.

    Args:
        spec: As the pipeline's `extract.backbone` says.
        base: Folder that relative paths start from.

    Returns:
        None when nothing is missing, or only a custom target itself could say.
    """
    return spec.located(base).missing()
