"""Fine-tune Mask R-CNN. ``python train.py --help`` lists what can be set."""

import sys

from segtrain.cli.launch import launch

if __name__ == "__main__":
    launch("train", ("python", "train.py"), sys.argv[1:])
