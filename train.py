"""Fine-tune Mask R-CNN. ``python train.py --help`` lists what can be set."""

import sys

from segtrain.cli.main import run_train

if __name__ == "__main__":
    sys.exit(run_train(("python", "train.py"), sys.argv[1:]))
