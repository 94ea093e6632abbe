"""Benchmarks are scripts that import their neighbours: here, and nowhere else in the tests, they can be imported."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
