"""Benchmark Mask R-CNN against classical segmentation. ``python evaluate.py --help`` lists what can be set."""

import sys

from segtrain.cli.main import run_evaluate

if __name__ == "__main__":
    sys.exit(run_evaluate(("python", "evaluate.py"), sys.argv[1:]))
