"""Checks and repairs of COCO data sets."""
