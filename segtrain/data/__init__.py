"""Data sets: COCO files, images, checks, splits, augmentation and loading."""
