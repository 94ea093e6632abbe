"""Images whose width and height the json exchanges, while their annotations lie in the upright image."""

import json
from pathlib import Path

import pytest
from PIL import Image

from segtrain.data.check import command
from segtrain.data.check.load import load_index
from segtrain.data.coco.index import CocoIndex
from segtrain.data.coco.rules import AnnotationRules
from segtrain.data.images.image_reader import ImageReader
from segtrain.errors import SegtrainError
from tests.helpers.drawn_frames import Content, each, healthy

# pycocotools 2.0.11 under NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
_UPRIGHT, _ON_ITS_SIDE = 1, 6


def write(folder: Path, content: Content, orientation: int, *, stored: bool = False) -> Path:
    """Write images of which one reading has the size of the content; ``stored`` if it is that without EXIF."""
    for image in content["images"]:
        exif = Image.Exif()
        exif[274] = orientation
        size = image["width"], image["height"]
        turned = orientation > 4 and not stored
        Image.new("L", size[::-1] if turned else size).save(folder / image["file_name"], exif=exif)
    return folder / "coco.json"


def load(path: Path, content: Content, rules: AnnotationRules | None = None) -> CocoIndex:
    path.write_text(json.dumps(content))
    return load_index(path, "strict", rules or AnnotationRules(), ImageReader(path.parent, "auto", 10**6))


def exchange(content: Content, places: list[int]) -> None:
    for place in places:
        image = content["images"][place]
        image["width"], image["height"] = image["height"], image["width"]


@pytest.mark.parametrize("frame", ["stored", "auto"])
@pytest.mark.parametrize("places", [[0, 1, 2, 3], [2]], ids=["all", "one"])
@pytest.mark.parametrize("orientation", [_UPRIGHT, _ON_ITS_SIDE])
@pytest.mark.parametrize("kind", ["polygons", "run-length masks"])
def test_the_size_is_that_of_the_file(
    kind: str, orientation: int, places: list[int], frame: str, tmp_path: Path
) -> None:
    content = healthy(5, kind=kind)
    path = write(tmp_path, content, orientation)
    before = load(path, content)
    sizes = [image.size for image in before.images]
    exchange(content, places)
    index = load(path, content, AnnotationRules(frame=frame))  # type: ignore[arg-type]
    assert [image.size for image in index.images] == sizes
    assert [index.objects(place)[1] for place in range(4)] == [before.objects(place)[1] for place in range(4)]
    assert {issue.kind: issue.count for issue in index.issues} == {"size-turned": len(places)}
    assert "(height x width)" in index.issues["size-turned"].examples[0]


def test_masks_of_images_as_they_are_stored_stay(tmp_path: Path) -> None:
    """A tool that takes no notice of EXIF, with sizes and masks of the stored pixels."""
    content = healthy(6)
    path = write(tmp_path, content, _ON_ITS_SIDE, stored=True)
    index = load(path, content)
    assert not len(index.issues)
    assert [image.size for image in index.images] == [(i["height"], i["width"]) for i in content["images"]]


def test_exchanged_coordinates_are_still_an_error(tmp_path: Path) -> None:
    content = healthy(7)
    path = write(tmp_path, content, _UPRIGHT)
    for annotation, _, _ in each(content):
        (ring,), (x, y, width, height) = annotation["segmentation"], annotation["bbox"]
        ring[0::2], ring[1::2] = ring[1::2], ring[0::2]
        annotation["bbox"] = [y, x, height, width]
    with pytest.raises(SegtrainError, match="agree with them once with x and y exchanged"):
        load(path, content)


def test_a_file_of_neither_size_stays_as_stated(tmp_path: Path) -> None:
    content = healthy(8)
    path = write(tmp_path, content, _UPRIGHT)
    exchange(content, [0, 1, 2, 3])
    Image.new("L", (33, 44)).save(tmp_path / "2.png")
    path.write_text(json.dumps(content))
    index = load_index(path, "warn", images=ImageReader(tmp_path, "auto", 10**6))
    assert index.issues["size-turned"].count == 3
    assert index.images[2].size == (content["images"][2]["height"], content["images"][2]["width"])


def test_the_copy_has_the_right_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = healthy(9)
    path = write(tmp_path, content, _ON_ITS_SIDE)
    exchange(content, [1])
    path.write_text(json.dumps(content))
    command.main([str(path), str(tmp_path), "--fix", str(tmp_path / "fixed.json")])
    assert "upright by data.exif" in capsys.readouterr().out
    exchange(content, [1])
    fixed = json.loads((tmp_path / "fixed.json").read_text())
    assert fixed["images"] == content["images"]
    assert [one["segmentation"] for one in fixed["annotations"]] == [
        one["segmentation"] for one in content["annotations"]
    ]
