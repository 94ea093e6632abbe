"""Readers of COCO annotation and result files."""
