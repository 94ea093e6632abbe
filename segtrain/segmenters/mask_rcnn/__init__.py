"""Mask R-CNN on torchvision's building blocks."""
