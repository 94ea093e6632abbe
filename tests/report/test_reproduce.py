"""Commands that a report ends with: the evaluation once more, and its best method on new images."""

from typing import Any

import pytest

from segtrain.report.blocks import Command
from segtrain.report.sections.about import reproduce
from tests.helpers.report_examples import method, results, typed


def commands(**methods: Any) -> list[str]:
    content = results(methods=methods)
    content["checkpoints"] = {"mask_rcnn": {"path": "/runs/a run/best.pt"}}
    return [block.text for block in reproduce(typed(content)).blocks if isinstance(block, Command)]


@pytest.mark.parametrize(
    ("name", "variant", "model"),
    [
        ("mask_rcnn", None, "'/runs/a run/best.pt'"),
        ("threshold_otsu", "robust", "threshold_otsu"),
        ("edge_tuned", "tuned", "tuned/segmenter/edge_tuned_winner.yaml"),
    ],
)
def test_the_best_method_is_applied_to_new_images(name: str, variant: str | None, model: str) -> None:
    best = method(0.5, 0.1, [], aware=name == "mask_rcnn") | {"family": variant}
    oracle = method(0.9, 0.1, [], aware=False) | {"oracle": True}
    found = commands(kmeans=method(0.2, 0.1, [], aware=False), kmeans_oracle=oracle, **{name: best})
    assert found == ["python evaluate.py seed=1", f"segtrain predict {model} IMAGES --out DIR"]


def test_results_of_other_programs_cannot_be_applied() -> None:
    assert commands(theirs=method(0.5, None, [], aware=True)) == ["python evaluate.py seed=1"]
