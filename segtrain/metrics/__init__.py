"""Metrics of instance segmentation as functions of COCO records, their registry, and the bootstrap."""
