"""Benchmark of segmentation methods: building, tuning, running, scoring, and typed results."""
