"""Conversion of other tools' labels to COCO json, and back to some of them."""
