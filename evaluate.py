"""Benchmark Mask R-CNN against classical segmentation. ``python evaluate.py --help`` lists what can be set."""

from pathlib import Path

from segtrain.cli.evaluate import evaluate
from segtrain.cli.launch import launch

if __name__ == "__main__":
    launch(evaluate, Path(__file__).parent / "configs", "evaluate")
