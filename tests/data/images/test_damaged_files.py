"""What random damage has found: each case as small as it gets."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from segtrain import masks
from segtrain.data.check import command
from segtrain.data.check.fix import write_fixed
from segtrain.data.check.load import load_index
from segtrain.data.coco import json_file
from segtrain.data.coco.json_file import FileError
from segtrain.data.coco.reader import read_index
from segtrain.data.split_drawing import write_split
from segtrain.data.splits import open_splits
from segtrain.errors import SegtrainError
from tests.data.test_issues import CELL, annotation, coco, image, write

# pycocotools 2.0.11 under NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def with_images(folder: Path, content: Any, name: str = "coco.json") -> tuple[str, str]:
    """A json and a folder with its one image, as the command takes them."""
    (folder / "images").mkdir(parents=True)
    Image.new("RGB", (20, 10)).save(folder / "images" / "7.png")
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return str(path), str(folder / "images")


@pytest.mark.parametrize("shape", [(1, 2**30), (2**30, 1), (2, 2**28), (40_000, 50_000)])
@pytest.mark.parametrize("far", [1, 15])
def test_no_outline_is_longer_than_memory(shape: tuple[int, int], far: int, tmp_path: Path) -> None:
    """pycocotools walks along every outline, and counts the steps in 32 bits."""
    height, width = shape
    outline = [0, 0, width * far, 0, width * far, height * far, 0, height * far] * 50
    content = coco(annotation(segmentation=[outline]), images=[image(height=height, width=width)])
    index = load_index(write(tmp_path, content), "warn")
    assert index.issues["polygon-huge"].count == 1
    assert index.counts.dropped == 1


def test_an_honest_outline_may_be_long(tmp_path: Path) -> None:
    """A comb of 2,000 teeth in an image of 36 megapixels: 4 million pixels."""
    teeth = [[2.0 * n, 1000.0 * (n % 2)] for n in range(4000)]
    outline = [value for point in [*teeth, [8000.0, 4000.0], [0.0, 4000.0]] for value in point]
    content = coco(annotation(segmentation=[outline]), images=[image(height=4500, width=8000)])
    assert load_index(write(tmp_path, content), "warn").counts.used == 1


@pytest.mark.parametrize("lowest", [-(2**63), -5, 2**63 - 1])
def test_a_missing_id_is_found_at_once(lowest: int, tmp_path: Path) -> None:
    index = load_index(write(tmp_path, coco(images=[image(lowest), image(None, file_name="b.png")])), "warn")
    kept, new = (entry.id for entry in index.images)
    assert kept == lowest
    assert 0 < new < 2**31


@pytest.mark.parametrize("size", [[10.0, 20.0], [10, 20.0]])
def test_sizes_of_run_lengths_may_be_written_as_floats(size: list[float], tmp_path: Path) -> None:
    plane = np.zeros((10, 20), np.uint8)
    plane[2:5, 2:6] = 1
    code = masks.encode(plane)["counts"]
    path = write(tmp_path, coco(annotation(segmentation={"size": size, "counts": code})))
    index = load_index(path)
    assert np.array_equal(masks.decode(index.truths(7)[0]["segmentation"]), plane)
    write_fixed(index, {}, tmp_path / "fixed.json")
    reference = COCO(str(tmp_path / "fixed.json"))
    assert np.array_equal(reference.annToMask(reference.anns[1]), plane)
    assert json.loads((tmp_path / "fixed.json").read_text())["annotations"][0]["segmentation"]["size"] == [10, 20]


def test_a_truth_value_is_no_size(tmp_path: Path) -> None:
    rle = {"size": [True, True], "counts": masks.encode(np.ones((1, 1)))["counts"]}
    content = coco(annotation(segmentation=rle), images=[image(height=1, width=1)])
    assert load_index(write(tmp_path, content), "warn").issues["rle-size"].count == 1


@pytest.mark.parametrize(
    "extra",
    [b'"' + b"caf\xe9" + b'"', b"1" * 5000, b"1e999", b'"\\ud800"', b"[" * 900 + b"]" * 900],
    ids=["latin-1", "digits", "1e999", "surrogate", "nest"],
)
@pytest.mark.parametrize("nan", [b"0", b"NaN"], ids=["strict", "lax"])
def test_fields_that_nobody_reads_are_no_obstacle(extra: bytes, nan: bytes, tmp_path: Path) -> None:
    text = json.dumps(coco(annotation(), info={"x": "EXTRA", "y": "NAN"})).encode()
    path = tmp_path / "coco.json"
    path.write_bytes(text.replace(b'"EXTRA"', extra).replace(b'"NAN"', nan))
    try:
        index = load_index(path)
    except FileError as error:  # neither parser takes it
        assert "not a json file" in str(error)  # noqa: PT017
        assert nan == b"NaN"
        return
    write_fixed(index, {}, tmp_path / "fixed.json")
    assert load_index(tmp_path / "fixed.json").counts == index.counts
    COCO(str(tmp_path / "fixed.json"))


@pytest.mark.parametrize("extra", [b"[" * 200_000 + b"]" * 200_000, b'"\\q"'], ids=["bottomless", "escape"])
def test_what_cannot_be_copied_is_one_error(extra: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = json.dumps(coco(annotation(), info="EXTRA")).encode().replace(b'"EXTRA"', extra)
    arguments = with_images(tmp_path, text)
    assert command.main([*arguments, "--fix", str(tmp_path / "fixed.json"), "--json"]) == 1
    assert not (tmp_path / "fixed.json").exists()
    captured = capsys.readouterr()
    assert "coco.json" in captured.out + captured.err
    assert captured.err.count("\n") <= 1


def test_ids_of_copies_fit_into_64_bits(tmp_path: Path) -> None:
    pair = [image(2**63 - 1, file_name="a.png"), image(0, file_name="b.png")]
    index = load_index(write(tmp_path, coco(annotation(image_id=0), annotation(image_id=2**63 - 1), images=pair)))
    write_fixed(index, {}, tmp_path / "fixed.json")
    fixed = load_index(tmp_path / "fixed.json")
    assert fixed.counts == index.counts
    ids = {entry.file_name: entry.id for entry in fixed.images}
    assert ids == {"a.png": 2**63 - 1, "b.png": 1}


def test_a_copy_holds_at_least_one_image(tmp_path: Path) -> None:
    index = load_index(write(tmp_path, coco(annotation())))
    with pytest.raises(SegtrainError, match=r"coco\.json: no image can be used \(7\.png: gone\)"):
        write_fixed(index, {7: "7.png: gone"}, tmp_path / "fixed.json")
    assert not (tmp_path / "fixed.json").exists()


@pytest.mark.parametrize("categories", [[5], [None, "x"]])
def test_without_a_category_nothing_can_be_used(categories: list[Any], tmp_path: Path) -> None:
    """Or the copy would be refused."""
    with pytest.raises(FileError, match=r"coco\.json: no category can be used \(categories\[0\] is no object\)"):
        load_index(write(tmp_path, coco(annotation(), categories=categories)), "warn")


@pytest.mark.parametrize("name", ["fixed.log", "fixed", "fixed.tar.json"])
def test_the_log_never_replaces_the_copy(name: str, tmp_path: Path) -> None:
    index = load_index(write(tmp_path, coco(annotation())))
    log = write_fixed(index, {}, tmp_path / name).log
    assert log != tmp_path / name
    assert load_index(tmp_path / name).counts == index.counts
    assert log.read_text().startswith(str(index.path))


@pytest.mark.parametrize("name", [".", "..", "/", ""])
def test_a_folder_is_no_name_for_a_copy(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    index = load_index(write(tmp_path, coco(annotation())))
    with pytest.raises(SegtrainError, match="exists already"):
        write_fixed(index, {}, Path(name))


def test_an_id_of_minus_one_is_a_whole_number(tmp_path: Path) -> None:
    issues = load_index(write(tmp_path, coco(annotation(id=-1), annotation(id="x")))).issues
    assert issues["id-beyond-int32"].count == 0
    assert issues["id-not-integer"].count == 1
    issues = load_index(write(tmp_path, coco(annotation(id=2**63), annotation(id="x")))).issues
    assert issues["id-beyond-int32"].count == 1


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "coco.json")
    with pytest.raises(FileError, match=r"coco\.json: cannot read the annotations \(a directory, pipe or device\)"):
        load_index(tmp_path / "coco.json")
    with pytest.raises(FileError, match=r"a directory, pipe or device"):
        load_index(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the names of files are text")
def test_a_path_may_be_no_text(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    arguments = with_images(folder, coco(annotation()))
    assert [command.main([*arguments, "--json"]) for _ in range(2)] == [0, 0]


@pytest.mark.parametrize("name", ["[", "[red]", "a[", ":smile:"])
def test_a_path_is_no_markup(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = with_images(tmp_path / name / "]" / "x", coco(annotation()))
    assert command.main(arguments) == 0
    assert f"{name}/]/x/coco.json" in "".join(capsys.readouterr().out.split())
    arguments = with_images(tmp_path / "a[" / "b]", coco(annotation()))
    assert command.main(arguments) == 0


def test_messages_stay_in_one_line_whatever_the_file_looks_like(tmp_path: Path) -> None:
    """An indented json has line breaks within its boxes."""
    content = json.dumps(coco(annotation(bbox=[2, 2, 40, 3]), annotation(id=6, bbox=[1, 2, 0, 3])), indent=2)
    lines = load_index(write(tmp_path, content)).issues.lines(("warning",))
    assert len(lines) == 3
    assert not [line for line in lines if "\n" in line]
    assert "box [ 2, 2, 40, 3 ], image 20 wide and 10 high" in lines[1]


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31mb", "x" * 3000, "\u202egnp"])
def test_category_names_stay_in_one_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = coco(annotation(), categories=[{"id": 3, "name": name}, {"id": 4, "name": name}])
    arguments = with_images(tmp_path, content)
    assert command.main(arguments) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert len(out) < 10_000
    lines = load_index(Path(arguments[0])).issues.lines(("warning", "note"))
    assert not [line for line in lines if len(line) > 400 or not line.isprintable()]


def test_other_categories_are_told_briefly(tmp_path: Path) -> None:
    for name, second in (("train", "x" * 9000), ("val", "bar")):
        categories = [{"id": n, "name": f"category {n}"} for n in range(1, 300)] + [{"id": 300, "name": second}]
        (tmp_path / f"{name}.json").write_text(json.dumps(coco(annotation(category_id=300), categories=categories)))
    files = {"train_annotations": "train.json", "val_annotations": "val.json", "train_images": None, "val_images": None}
    rest: dict[str, Any] = {"val_fraction": None, "exif": "auto", "max_image_pixels": 10**8, "check": "warn", "seed": 0}
    with pytest.raises(SegtrainError, match=r"val\.json.*'bar'.*train\.json") as caught:
        open_splits(root=tmp_path, **files, **rest, need=["val", "train"], images="unused")
    assert len(str(caught.value)) < 1000


def test_what_the_terminal_cannot_show_is_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "out").open("w", encoding="ascii") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        content = coco(
            annotation(), categories=[CELL | {"name": "細胞"}], images=[image(), image(8, file_name="é.png")]
        )
        assert command.main(with_images(tmp_path / "x", content)) == 1
    out = (tmp_path / "out").read_text(encoding="ascii")
    assert "\\u7d30\\u80de" in out
    assert "\\xe9.png" in out
    assert "#####" in out


@pytest.mark.parametrize("written", [" 1", "1", 1.0, "01", "a", None])
@pytest.mark.parametrize("named", [1, "1", " 1", 1.0, "a"])
def test_annotations_follow_their_image_into_a_split(written: Any, named: Any, tmp_path: Path) -> None:
    """Whichever way its id is written: in a split as in the index."""
    images = [image(written, file_name="a.png"), image(2, file_name="b.png")]
    path = write(tmp_path, coco(annotation(image_id=named), annotation(image_id=2), images=images))
    whole = load_index(path, "warn")
    for val in (0, 1):
        write_split(path, [val], tmp_path / "split")
        parts = {name: load_index(tmp_path / "split" / f"{name}.json", "warn") for name in ("train", "val")}
        for name, place in (("val", val), ("train", 1 - val)):
            (entry,) = parts[name].images
            assert entry.file_name == whole.images[place].file_name
            assert len(parts[name].truths(entry.id)) == len(whole.truths(whole.images[place].id))


def test_of_two_lists_the_last_one_counts_in_large_files_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in small ones, and as any parser has it."""
    lists = json.dumps(coco(annotation(), annotation(id=6)))[1:-1]
    within = '"x": [{"annotations": [{"id": 1}], "images": 0}]'
    for text in (f'{{{lists}, "annotations": []}}', f'{{"annotations": [], {within}, {lists}}}'):
        path = tmp_path / "coco.json"
        path.write_text(text)
        expected = load_index(path).counts
        with monkeypatch.context() as patch:
            patch.setattr(json_file, "_LARGE", 0)
            assert read_index(path).counts.annotations == expected.annotations
    path.write_text(json.dumps(coco())[1:-1].join(("{", f", {within}}}")))
    monkeypatch.setattr(json_file, "_LARGE", 0)
    assert read_index(path).counts.annotations == 0
