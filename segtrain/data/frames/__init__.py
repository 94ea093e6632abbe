"""Frames: what coordinates and run lengths of a file mean, found by comparing masks with their boxes and areas."""
