"""Templates of the HTML pages, each one file that needs no network."""

from jinja2 import Environment, PackageLoader


def page_environment() -> Environment:
    """Return the environment in which the templates of the package are rendered."""
    return Environment(
        loader=PackageLoader("segtrain.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
