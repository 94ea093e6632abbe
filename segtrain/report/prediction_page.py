"""Pages of a prediction: the images with what was found in them, a bounded number on each page."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from segtrain.report.gallery.encode import EncodedImage
from segtrain.report.html import page_environment
from segtrain.visualize import COLOURS

FIRST, INDEX = "index.html", "index"  # the first page, and the folder of the others beside it
_NEIGHBOURS = 4  # pages before and after one to which it links, beside the first and the last


@dataclass(frozen=True)
class PagePlace:
    """Place of a page among the pages of a prediction.

    Attributes:
        number: its number, from 1.
        pages: number of pages.
        first: number of its first image among all, from 1.
        images: number of all images.
    """

    number: int
    pages: int
    first: int
    images: int

    @property
    def name(self) -> str:
        """Name of its file, relative to the folder of the prediction.

        >>> PagePlace(1, 2, 1, 70).name, PagePlace(2, 2, 61, 70).name
        ('index.html', 'index/0002.html')
        """
        return page_name(self.number)

    @property
    def root(self) -> str:
        """Way from the page to the folder of the prediction."""
        return "" if self.number == 1 else "../"

    @property
    def linked(self) -> list[int]:
        """Numbers of the pages that it links to: the first, the last, and those around it; 0 for a gap.

        >>> PagePlace(9, 30, 481, 1800).linked
        [1, 0, 5, 6, 7, 8, 9, 10, 11, 12, 13, 0, 30]
        """
        near = range(max(1, self.number - _NEIGHBOURS), min(self.pages, self.number + _NEIGHBOURS) + 1)
        linked: list[int] = []
        for number in sorted({1, *near, self.pages}):
            if linked and number - linked[-1] > 1:
                linked.append(0)
            linked.append(number)
        return linked


def page_name(number: int) -> str:
    """Name the file of a page, relative to the folder of the prediction."""
    return FIRST if number == 1 else f"{INDEX}/{number:04d}.html"


def prediction_page(
    title: str, facts: str, files: Sequence[str], images: Sequence[EncodedImage], place: PagePlace
) -> str:
    """Write a page as self-contained HTML.

    Args:
        title: heading.
        facts: one line of numbers about all images.
        files: names of the other files of the prediction, relative to its folder.
        images: images of the page.
        place: place of the page.
    """
    ratio = median(image.width / image.height for image in images) if images else 1
    return (
        page_environment()
        .get_template("prediction.html.jinja")
        .render(
            page_name=page_name,
            colours=COLOURS,
            title=title,
            command="predict",
            facts=facts,
            files=files,
            images=images,
            place=place,
            ratio=min(1.6, max(0.75, ratio)),
        )
    )
