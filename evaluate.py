"""Benchmark Mask R-CNN against classical segmentation. ``python evaluate.py --help`` lists what can be set."""

import sys

from segtrain.cli.launch import launch

if __name__ == "__main__":
    launch("evaluate", ("python", "evaluate.py"), sys.argv[1:])
