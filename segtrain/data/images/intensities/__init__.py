"""Intensities: values that images use, and their conversion to 8 bits."""
