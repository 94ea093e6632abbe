"""Environment of the templates from which the HTML pages are rendered."""

# Apart from `html`, whose imports load torch: `segtrain check --html` needs none of it.
from jinja2 import Environment, PackageLoader


def page_environment() -> Environment:
    """Return the Jinja environment that holds the templates of this package."""
    return Environment(
        loader=PackageLoader("segtrain.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
