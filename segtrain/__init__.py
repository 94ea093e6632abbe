"""segtrain: fine-tune Mask R-CNN on COCO-format data and benchmark it against classical segmentation."""

__version__ = "0.1.0"
