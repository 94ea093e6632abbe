"""Comparison of two evaluations: of two versions of a network or a program, two data sets, or two days."""
