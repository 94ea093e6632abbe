"""Parts of a COCO file as files of their own, byte for byte; fields of its images, or why they do not serve."""

import json
import os
import re
import tempfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO

from segtrain.data.check.load import load_index
from segtrain.data.split_drawing import image_field, write_split
from segtrain.errors import SegtrainError

REAL = Path(os.environ.get("SEGTRAIN_REAL_DATA", "../shared")) / "data"
needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason="SEGTRAIN_REAL_DATA names no folder with real data")


def write(path: Path, images: list[Any], annotations: list[Any] | None = None, **more: Any) -> Path:
    path.write_text(json.dumps({**more, "images": images, "annotations": annotations or [], "categories": []}))
    return path


def parts_of(source: Path, val: list[int], folder: Path) -> list[Any]:
    write_split(source, val, folder)
    return [json.loads((folder / f"{name}.json").read_text()) for name in ("train", "val")]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
FREE = st.dictionaries(st.text().filter(lambda key: key not in ("id", "image_id")), JSON, max_size=3)


@given(st.lists(FREE, min_size=2, max_size=8), st.lists(FREE, max_size=12), st.dictionaries(st.text(), JSON), st.data())
def test_every_entry_goes_to_one_file_as_it_is(
    images: list[dict[str, Any]], annotations: list[dict[str, Any]], more: dict[str, Any], data: st.DataObject
) -> None:
    ids = [f"é{i}" if i % 2 else i for i in range(len(images))]
    images = [{"id": i, **image} for i, image in zip(ids, images, strict=True)]
    annotations = [{**entry, "image_id": data.draw(st.sampled_from(ids))} for entry in annotations]
    val = data.draw(st.sets(st.integers(0, len(images) - 1)))
    content = {**more, "images": images, "annotations": annotations}
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "all.json"
        source.write_text(json.dumps(content, ensure_ascii=data.draw(st.booleans())))
        parts = parts_of(source, sorted(val), Path(name))
    for side, part in zip((False, True), parts, strict=True):
        assert list(part) == list(content)
        own = [image for place, image in enumerate(images) if (place in val) == side]
        assert part["images"] == own
        assert part["annotations"] == [a for a in annotations if a["image_id"] in [image["id"] for image in own]]
        assert {key: part[key] for key in more if key not in ("images", "annotations")} == {
            key: value for key, value in more.items() if key not in ("images", "annotations")
        }


def test_entries_keep_every_byte(tmp_path: Path) -> None:
    source = tmp_path / "all.json"
    image = '{ "id":1 ,"score": 1.50e+01, "name": "\\u00e9" }'
    source.write_bytes(b"\xef\xbb\xbf" + f'{{"images": [{image}, {{"id": 2}}], "annotations": []}}'.encode())
    write_split(source, [0], tmp_path / "new" / "folder")
    assert image in (tmp_path / "new" / "folder" / "val.json").read_text()
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == ["train.json", "val.json"]


@pytest.mark.parametrize(
    ("image_ids", "named", "expected"),
    [
        ([1, 2], [1, 2, 3, None], [[2, 3, None], [1]]),  # unknown images: with training
        (["1", "2"], [1, "2"], [["2"], [1]]),
        ([1, 2], ["1", 2.0, 1.0], [[2.0], ["1", 1.0]]),
        ([1, 1], [1], [[], [1]]),  # the first of two with the same id has the annotations
        ([2, 1, 1], [1], [[1], []]),
    ],
    ids=str,
)
def test_annotations_follow_their_image(
    image_ids: list[Any], named: list[Any], expected: list[list[Any]], tmp_path: Path
) -> None:
    source = write(tmp_path / "all.json", [{"id": i} for i in image_ids], [{"image_id": i} for i in named])
    parts = parts_of(source, [0], tmp_path)
    assert [[entry["image_id"] for entry in part["annotations"]] for part in parts] == expected


def test_entries_of_one_image_stay_together_whichever_of_them_is_used(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "a.png", "width": side} for side in (0, 9)]
    source = write(tmp_path / "all.json", [*images, {"id": 2, "file_name": "b.png"}], [{"image_id": 1}])
    train, val = parts_of(source, [1], tmp_path)
    assert [entry["id"] for entry in train["images"]] == [2]
    assert val["images"] == images
    assert (train["annotations"], val["annotations"]) == ([], [{"image_id": 1}])


def test_what_cannot_be_split_is_named(tmp_path: Path) -> None:
    source = tmp_path / "all.json"
    source.write_text('{"images": [], "annotations": 3}')
    with pytest.raises(SegtrainError, match=r"all\.json: cannot be split \(Expected `array`"):
        write_split(source, [], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["all.json"]


@needs_real_data
@pytest.mark.parametrize("name", ["nuclei/annotations/instances_val.json", "coco/annotations/instances_train2017.json"])
def test_real_files_load_everywhere(name: str, tmp_path: Path) -> None:
    whole = load_index(REAL / name)
    val = set(np.random.default_rng(0).permutation(len(whole.images))[: len(whole.images) // 5].tolist())
    write_split(REAL / name, val, tmp_path)
    original = json.loads((REAL / name).read_text())
    found: dict[str, list[Any]] = {"images": [], "annotations": []}
    for side, part in ((False, "train"), (True, "val")):
        index = load_index(tmp_path / f"{part}.json")
        expected = whole.subset([image.id for place, image in enumerate(whole.images) if (place in val) == side])
        assert list(index.images) == list(expected.images)
        assert (index.categories, index.counts) == (expected.categories, expected.counts)
        for image in index.images[:20]:
            truths = ([{**t, "id": 0} for t in which.truths(image.id)] for which in (index, expected))
            assert next(truths) == next(truths)
        with redirect_stdout(StringIO()):
            reference = COCO(tmp_path / f"{part}.json")
        assert sorted(reference.getImgIds()) == sorted(image.id for image in index.images)
        assert len(reference.getAnnIds()) == index.counts.annotations
        content = json.loads((tmp_path / f"{part}.json").read_text())
        assert {key: content[key] for key in content.keys() - found} == {
            key: original[key] for key in original.keys() - found
        }
        for key in found:
            found[key] += content[key]
    for key, entries in found.items():
        assert sorted(entries, key=lambda e: e["id"]) == sorted(original[key], key=lambda e: e["id"])


def test_a_field_is_read_for_every_image_in_file_order(tmp_path: Path) -> None:
    images = [{"id": 9 - k, "extra": {"patient": {"name": f"p{k}"}, "age": 1.5}, "slide": k % 2} for k in range(4)]
    path = write(tmp_path / "a.json", images)
    assert image_field(path, "slide", range(4)) == [0, 1, 0, 1]
    assert image_field(path, "extra.patient.name", range(4)) == ["p0", "p1", "p2", "p3"]
    assert image_field(path, "extra.age", range(4)) == [1.5] * 4
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert image_field(path, "id", range(4)) == [9, 8, 7, 6]


@pytest.mark.parametrize(
    ("images", "field", "message"),
    [
        ([{"id": 1, "a": 1, "b": {"c": 2}}], "patient", "no image has the field 'patient' .* there are a, b.c, id$"),
        ([{"id": 1, "b": {"c": 2}}], "b.d", "no image has the field 'b.d' .* there are b.c, id$"),
        ([{"id": 1, "a": 2}], "a.b", "no image has the field 'a.b'"),
        ([{f"k{n:02}": 1 for n in range(30)}], "x", r"k18, k19, \.\.\.$"),
        ([{"id": 1, "a": 1}, {"id": 17}, {"id": 3}], "a", "image 17 has no 'a', .* \\(2 of 3 images lack it\\)"),
        ([{"id": 1, "a": 1}, {"id": "x", "a": None}], "a", "image x has no 'a'"),
        ([{"id": 1, "a": 1}, {"id": 5, "a": [1]}], "a", "the 'a' of image 5 is neither text nor a number"),
        ([{"id": 1, "a": {"b": 1}}], "a", "the 'a' of image 1 is neither"),
        ([{"id": 1, "a": True}], "a", "the 'a' of image 1 is neither"),
        (["nothing"], "a", "cannot be split"),
    ],
    ids=str,
)
def test_a_field_that_does_not_serve_is_named_in_one_line(
    images: list[Any], field: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(SegtrainError, match=message) as caught:
        image_field(write(tmp_path / "a.json", images), field, range(len(images)))
    assert re.match(r".*a\.json: [^\n]*$", str(caught.value))


def test_a_repeated_entry_goes_the_way_of_the_first(tmp_path: Path) -> None:
    content = json.loads(write(tmp_path / "a.json", [{"id": i} for i in (1, 2, 3)]).read_text())
    content["images"].insert(1, content["images"][2])  # as whoever joins files has it
    (tmp_path / "a.json").write_text(json.dumps(content))
    for val in ({1}, {2}, {1, 3}):
        write_split(tmp_path / "a.json", val, tmp_path / "split")
        ids = [
            {image["id"] for image in json.loads((tmp_path / "split" / f"{part}.json").read_text())["images"]}
            for part in ("train", "val")
        ]
        assert not ids[0] & ids[1]
        assert ids[0] | ids[1] == {1, 2, 3}
