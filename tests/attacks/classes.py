"""Classes, pairs of them and their weights that cannot be meant, and bundles whose columns lie."""

from attacks.foreign_bundles import bundle, card, set_
from attacks.losses import _train
from attacks.scene import Attack, Scene

TARGET = "target: {column: diagnosis, positive: patient}"


def _target(text: str):
    """The archive's pipeline with another target."""

    def arrange(scene: Scene) -> list[str]:
        scene.archived("images")
        scene.archived("unsealed.zarr")
        path = scene.archived("pipeline.yaml")
        assert TARGET in path.read_text()
        path.write_text(path.read_text().replace(TARGET, f"target: {text}", 1))
        return [str(path)]

    return arrange


def _columns(*designs: object):
    """A bundle whose card says that it keeps models of columns."""
    return bundle(card(set_(columns={"confounds_only": list(designs)})))


AGE = {"kind": "number", "name": "age", "missing": 60.0}

ATTACKS = [
    Attack(
        "pairs of two classes",
        "train",
        _target("{column: diagnosis, pairs: all}"),
        r"target\.pairs is for more than two classes, not for 2: control, patient",
    ),
    Attack(
        "a pair of three",
        "train",
        _target("{column: diagnosis, pairs: [[control, patient, other]]}"),
        r"aggregate\.target\..*pairs",
    ),
    Attack(
        "pairs of a number",
        "train",
        _target("{column: age, task: regression, pairs: all}"),
        r"unknown key aggregate\.target\.pairs",
    ),
    _train(
        "weights of labels that are not there",
        "{cross_entropy: {class_weights: {CN: 1, AD: 2}}}",
        r"class_weights must name the classes control, patient, not CN, AD",
    ),
    _train(
        "a weight of a bare yes",
        "{cross_entropy: {class_weights: {yes: 1, patient: 2}}}",
        r"a number above 0 for each label",
    ),
    _train(
        "a weight of a label without end",
        "{cross_entropy: {class_weights: {control: .inf, patient: 2}}}",
        r"a number above 0 for each label",
    ),
    Attack("columns without numbers", "predict", _columns({"columns": [AGE]}), "columns/confounds_only/0"),
    Attack(
        "a column that is neither", "predict", _columns({"columns": [{"kind": "code"}]}), r"columns\.confound"
    ),
    Attack(
        "a median that is no number",
        "predict",
        _columns({"columns": [{**AGE, "missing": "x"}]}),
        r"columns\.confounds_only",
    ),
    Attack(
        "a column of no value",
        "predict",
        _columns({"columns": [{"kind": "text", "name": "site", "values": [], "missing": "a"}]}),
        r"columns\.confounds_only",
    ),
    Attack(
        "columns below another folder",
        "predict",
        bundle(card(set_(columns={"../../x": [{"columns": [AGE]}]}))),
        r"columns\.",
    ),
]
