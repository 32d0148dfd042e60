"""Volume scores are drawn without any image, and what cannot be drawn is a sentence."""

from dataclasses import replace

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from aggregate.report.figures.redraw import read_back, redrawn
from aggregate.report.pages.detected_scores import detected_scores
from aggregate.report.pages.detection import detection_page, no_previews


def test_distributions_and_curves_are_drawn_without_previews(study, tmp_path):
    results = study.detect()
    bare = replace(results, shown=[replace(one, preview=None) for one in results.shown])
    page = detection_page(bare)
    assert "The store holds no previews, so that maps are shown without the slices" in page
    assert "slicecache cache export takes them along with --previews" in page
    assert no_previews([replace(results.shown[0], preview=b"png")]) == no_previews([]) == ""
    figures = tmp_path / "run" / "detect" / "figures"
    drawn = {part["drawing"].name: part["drawing"] for part in detected_scores(bare)["parts"]}
    names = ["detected_memory_bank", "detected_mahalanobis", "volume_roc", "volume_precision_recall"]
    assert list(drawn) == names
    for name, drawing in drawn.items():
        assert drawing in page
        table = read_back((figures / f"{name}.csv").read_bytes())
        assert redrawn(drawing.kind, name, table, drawing.facts) == drawing

    scores = pd.read_csv(figures.parent / "scores.csv")
    for name, own in results.cases.groupby("detector"):
        sick = own["label"] == "anomalous"
        if name in results.metrics["metrics"]:
            found = results.metrics["metrics"][name]["volume_auroc"]["value"]
            np.testing.assert_allclose(roc_auc_score(sick, own["score"]), found)
        told = scores[(scores["detector"] == name) & scores["part"].isin(["test", "other"])]
        np.testing.assert_allclose(sorted(own["score"]), sorted(told["score"]))


def test_one_side_or_no_label_is_a_sentence(study):
    results = study.detect()
    one_side = detected_scores(replace(results, cases=results.cases[results.cases["label"] == "anomalous"]))
    assert one_side["why_not"].startswith("No held-out volume is normal: there is no ROC")
    assert len(one_side["parts"]) == 2
    none = detected_scores(replace(results, cases=results.cases.iloc[:0]))
    assert none["parts"] == []
    assert "has a label" in none["why_not"]
