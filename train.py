"""Fine-tune Mask R-CNN. ``python train.py --help`` lists what can be set."""

from pathlib import Path

from segtrain.cli.launch import launch
from segtrain.cli.train import train

if __name__ == "__main__":
    launch(train, Path(__file__).parent / "configs", "train")
