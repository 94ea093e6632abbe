"""Packages of the distribution; all else stands in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["segtrain*"]), "segtrain.configs"],
    # The YAML files lie at the top of the tree, where one finds and edits them, and in the package once installed.
    package_dir={"segtrain.configs": "configs"},
    package_data={"segtrain": ["py.typed"], "segtrain.configs": ["**/*.yaml"], "segtrain.report": ["templates/*"]},
)
