"""Prediction on new images, from files to files."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis.strategies import integers
from PIL import Image
from skimage.measure import regionprops_table

import segtrain as st
from segtrain import masks
from segtrain.cli.main import main
from segtrain.data.images.image_files import ImageError
from segtrain.errors import SegtrainError
from segtrain.prediction import predict_files as module
from segtrain.prediction import prediction_folder, reading_ahead
from segtrain.prediction.applied_model import load_applied
from segtrain.prediction.pixel_size import pixel_size_of
from segtrain.stopping import Stopped
from segtrain.training.checkpoint import load_checkpoint
from segtrain.training.checkpoint_paths import checkpoint_file
from tests.conftest import Workplace
from tests.helpers.importers import require_cvat, require_label_studio, require_qupath
from tests.helpers.tiny_networks import tiny
from tests.helpers.tiny_runs import checkpoint

EVERYTHING = "coco,polygons,overlays,labels,masks,table,outlines,index,pages"


def picture(number: int, size: tuple[int, int] = (60, 70)) -> Any:
    """Bright squares of different sizes on a dark ground, the first of them alone in its column."""
    pixels = np.full(size, 30, np.uint8)
    for n in range(number):
        side = 6 + 2 * n
        pixels[4 + 9 * n : 4 + 9 * n + side // 2, 5 + 14 * n : 5 + 14 * n + side] = 200 + n
    return pixels


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in (1, 2, 3, 4):
        Image.fromarray(picture(number)).save(folder / f"{number}.png")
    return folder


def predicted(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "predictions.json").read_text())
    return content


def pixels(path: Path) -> Any:
    with Image.open(path) as image:
        return np.asarray(image)


def table(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "objects.csv").read_text().splitlines()))


def run(*arguments: object) -> int:
    return main(["predict", *map(str, arguments)])


def test_all_kinds_say_the_same(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("threshold_otsu", images, "--out", out, "--save", EVERYTHING) == 0
    content = predicted(out)
    assert [image["file_name"] for image in content["images"]] == ["1.png", "2.png", "3.png", "4.png"]
    assert len(content["annotations"]) == 1 + 2 + 3 + 4
    assert content["categories"] == [{"id": 1, "name": "object"}]
    require_cvat(content)
    outlined = json.loads((out / "polygons.json").read_text())
    require_cvat(outlined)
    require_label_studio(outlined)
    for entry in outlined["annotations"]:
        assert len(entry["segmentation"]) == 1
        entry["segmentation"] = masks.from_polygons(entry["segmentation"], (60, 70))
    assert outlined == content
    rows = table(out)
    for image in content["images"]:
        key = Path(image["file_name"]).stem
        own = [entry for entry in content["annotations"] if entry["image_id"] == image["id"]]
        (found,) = st.classical("threshold_otsu").segment([images / image["file_name"]])
        assert [entry["segmentation"] for entry in own] == list(found.rles)
        labels = tifffile.imread(out / "labels" / f"{key}.tif")
        assert labels.dtype == np.uint16
        for number, entry in enumerate(own, start=1):
            mask = masks.decode(entry["segmentation"])
            assert np.array_equal(labels == number, mask)
            assert np.array_equal(pixels(out / "masks" / key / f"{entry['id']:06d}.png"), mask * 255)
            assert entry["area"] == mask.sum()
        names = ("area", "centroid", "perimeter", "eccentricity", "intensity_mean")
        expected = regionprops_table(labels, pixels(images / image["file_name"]), properties=names)
        mine = [row for row in rows if row["image"] == image["file_name"]]
        assert [int(row["object"]) for row in mine] == [entry["id"] for entry in own]
        for theirs, column in (
            ("area", "area_px"), ("centroid-0", "centroid_y"), ("centroid-1", "centroid_x"),
            ("perimeter", "perimeter_px"), ("eccentricity", "eccentricity"), ("intensity_mean", "mean_1"),
        ):  # fmt: skip
            assert [float(row[column]) for row in mine] == pytest.approx(expected[theirs].tolist(), abs=1e-4)
        geojson = json.loads((out / "outlines" / f"{key}.geojson").read_text())
        require_qupath(geojson)
        assert len(geojson["features"]) == len(own)
        assert pixels(out / "overlays" / f"{key}.png").shape == (180, 210, 3)
        assert (out / "pages" / f"{key}.png").read_bytes() == (images / f"{key}.png").read_bytes()


@given(integers(0, 2**32), integers(1, 14), integers(1, 14))
def test_a_polygon_has_the_pixels_of_its_mask(seed: int, height: int, width: int) -> None:
    """Whatever holes and parts the mask has."""
    plane = np.random.default_rng(seed).random((height, width)) < 0.6
    plane[0, 0] = True
    rle = masks.encode(plane)
    (entry,) = module._with_polygons([{"id": 1, "segmentation": rle}])
    (polygon,) = entry["segmentation"]
    assert masks.from_polygons([polygon], (height, width)) == rle


def test_a_run_that_stops_goes_on_to_the_same_files(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    monkeypatch.setattr(prediction_folder, "IMAGES_PER_PAGE", 3)
    save = ("--save", "coco,table,index")
    assert run("threshold_otsu", images, "--out", whole, *save) == 0
    add, seen = module._Writer.add, list[str]()

    def stop(self: Any, page: Any, found: Any) -> None:
        add(self, page, found)
        seen.append(page.name)
        if len(seen) in (2, 4):  # after the image is written, before its file counts as done
            raise Stopped(15)

    with monkeypatch.context() as patch:
        patch.setattr(module._Writer, "add", stop)
        for _ in range(2):
            assert run("threshold_otsu", images, "--out", parts, *save) == 143
    assert "the same command goes on" in capsys.readouterr().err
    assert run("threshold_otsu", images, "--out", parts, *save) == 0
    assert seen == ["1.png", "2.png", "2.png", "3.png"]
    assert "2 files had been segmented before" in capsys.readouterr().out
    for name in ("predictions.json", "objects.csv", "index.html", "index/0002.html"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes()
    assert run("threshold_otsu", images, "--out", parts, "--save", "coco") == 1
    assert "parts holds predictions with another --save" in capsys.readouterr().err
    assert run("threshold_otsu", images, "--out", parts, "--save", "coco", "--overwrite") == 0
    assert (parts / "predictions.json").read_bytes() == (whole / "predictions.json").read_bytes()
    assert not list(parts.rglob("*.html"))


def test_bad_files_are_named_and_the_others_done(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = io.TextIOWrapper(io.BytesIO(f"{images}/1.png\n{images}/gone.png\n".encode()))
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdin", listed)
        assert run("threshold_otsu", "-", "--out", tmp_path / "list", "--save", "coco") == 0
    assert "1 file cannot be read: gone.png" in capsys.readouterr().out
    assert len(predicted(tmp_path / "list")["images"]) == 1
    whole = (images / "2.png").read_bytes()
    (images / "2.png").write_bytes(whole[:60])
    assert run("threshold_otsu", images, "--out", tmp_path / "out") == 0
    assert "1 file cannot be read: 2.png" in capsys.readouterr().out
    assert [image["file_name"] for image in predicted(tmp_path / "out")["images"]] == ["1.png", "3.png", "4.png"]
    (images / "2.png").write_bytes(whole)
    assert run("threshold_otsu", images, "--out", tmp_path / "out") == 0  # mended, it is done
    content = predicted(tmp_path / "out")
    assert [image["file_name"] for image in content["images"]] == ["1.png", "3.png", "4.png", "2.png"]
    assert [entry["id"] for entry in content["annotations"]] == list(range(1, 11))


def test_a_file_that_needs_an_option_is_named_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    tifffile.imwrite(folder / "float.tif", picture(1).astype(np.float32) - 100)
    two = np.stack([picture(1)] * 2, axis=-1)
    tifffile.imwrite(folder / "two.tif", two, photometric="minisblack", planarconfig="contig")
    assert run("threshold_otsu", folder, "--out", tmp_path / "out") == 1
    out = capsys.readouterr().out
    assert "float.tif (samples of type float32 have no full range beyond 0 to 1; give --intensity LOW,HIGH)" in out
    assert "which are red, green and blue; give --channels, three numbers or one, from 0)" in out
    options = ("--intensity", "-100,155", "--channels", "0")
    assert run("threshold_otsu", folder, "--out", tmp_path / "read", *options) == 0
    assert len(predicted(tmp_path / "read")["annotations"]) == 2


def test_pages_are_images_of_their_own(tmp_path: Path) -> None:
    stack = np.stack([picture(1), picture(2), picture(3)])
    about = {"unit": "um", "axes": "ZYX"}
    tifffile.imwrite(
        tmp_path / "stack.tif", stack, imagej=True, photometric="minisblack", resolution=(4.0, 4.0), metadata=about
    )
    assert pixel_size_of(tmp_path / "stack.tif") == 0.25
    out = tmp_path / "out"
    assert run("threshold_otsu", tmp_path / "stack.tif", "--out", out, "--save", "coco,table,labels") == 0
    content = predicted(out)
    names = ["0001.tif", "0002.tif", "0003.tif"]
    assert [image["file_name"] for image in content["images"]] == [f"stack.tif/{name}" for name in names]
    assert [image["page"] for image in content["images"]] == [1, 2, 3]
    assert sorted(path.name for path in (out / "labels" / "stack.pages").iterdir()) == names
    row = table(out)[0]
    assert float(row["area_um2"]) == pytest.approx(int(row["area_px"]) / 16)
    spaced = regionprops_table(tifffile.imread(out / "labels" / "stack.pages" / "0001.tif"), spacing=(0.25, 0.25),
                               properties=("area", "centroid", "perimeter"))  # fmt: skip
    names = ("area_um2", "centroid_y_um", "centroid_x_um", "perimeter_um")
    assert [float(row[name]) for name in names] == pytest.approx([value[0] for value in spaced.values()], abs=1e-3)
    deep, one = tmp_path / "deep", tmp_path / "one"
    colours = np.stack([stack.transpose(1, 2, 0) * np.uint16(200)] * 2)
    tifffile.imwrite(tmp_path / "rgb.tif", colours, photometric="rgb")
    assert run("threshold_otsu", tmp_path, "--out", deep, "--save", "coco,pages") == 0
    assert main(["check", str(deep / "predictions.json"), str(deep / "pages")]) == 0
    assert np.array_equal(tifffile.imread(deep / "pages" / "stack.tif" / "0002.tif"), stack[1])
    assert np.array_equal(tifffile.imread(deep / "pages" / "rgb.tif" / "0001.tif"), colours[0])
    assert run("threshold_otsu", tmp_path / "stack.tif", "--out", one, "--pages", "max") == 0
    assert len(predicted(one)["images"]) == 1


def test_later_images_never_replace_results(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, here = tmp_path / "out", images / "1.png"
    for folder in ("a", "b"):
        (images / folder).mkdir()
    (images / "a" / "1.png").write_bytes(here.read_bytes())
    (images / "b" / "1.png").write_bytes((images / "2.png").read_bytes())
    save = ("--out", out, "--save", "coco,labels")
    assert run("threshold_otsu", here, *save) == 0
    assert run("threshold_otsu", images / "a", *save) == 0
    before = {path: path.read_bytes() for path in (out / "labels").rglob("*.tif")}
    assert run("threshold_otsu", images, *save) == 0
    names = [image["file_name"] for image in predicted(out)["images"]]
    assert names == ["1.png", "a/1.png", "2.png", "3.png", "4.png", "b/1.png"]
    assert len(list((out / "labels").rglob("*.tif"))) == 6
    assert all(path.read_bytes() == content for path, content in before.items())
    assert run("threshold_otsu", images / "1.png", images / "a" / ".." / "1.png", *save) == 0  # the same file
    assert len(predicted(out)["images"]) == 6
    elsewhere = tmp_path / "elsewhere.png"
    elsewhere.write_bytes(here.read_bytes())
    assert run("threshold_otsu", elsewhere, *save) == 1
    assert "elsewhere.png: outside" in capsys.readouterr().err
    assert run("threshold_otsu", elsewhere, *save, "--overwrite") == 0
    assert [path.name for path in (out / "labels").rglob("*.tif")] == ["elsewhere.tif"]


def test_results_of_images_that_are_gone_stay(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for again in (False, True):
        listed = io.TextIOWrapper(io.BytesIO("".join(f"{images}/{n}.png\n" for n in (1, 2, 3)).encode()))
        monkeypatch.setattr("sys.stdin", listed)
        assert run("threshold_otsu", "-", "--out", tmp_path / "out", "--save", "coco") == 0
        (images / "1.png").unlink(missing_ok=again)
    assert "3 files had been segmented before" in capsys.readouterr().out
    assert len(predicted(tmp_path / "out")["images"]) == 3


def test_pages_of_a_file_that_breaks_off_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = reading_ahead.decode_pages

    def broken(*arguments: Any) -> Iterator[Any]:
        yield from islice(pages(*arguments), 2)
        raise ImageError("image-unreadable", tmp_path, "a page is damaged", "replace it")

    about = {"photometric": "minisblack", "imagej": True, "metadata": {"axes": "ZYX"}}
    tifffile.imwrite(tmp_path / "b.tif", np.stack([picture(1), picture(2), picture(3)]), **about)
    Image.fromarray(picture(3)).save(tmp_path / "a.png")
    out = tmp_path / "out"
    monkeypatch.setattr(reading_ahead, "decode_pages", broken)
    assert run("threshold_otsu", tmp_path / "b.tif", "--out", out, "--save", EVERYTHING) == 1
    assert predicted(out)["images"] == predicted(out)["annotations"] == table(out) == []
    assert not [path for kind in ("labels", "masks", "overlays", "outlines") for path in (out / kind).rglob("*.*")
                if path.is_file()]  # fmt: skip


def test_what_a_kill_has_left_of_an_image_is_removed(images: Path, tmp_path: Path) -> None:
    """Of an image whose file is not done: it may be gone when the command is repeated."""
    last, out, whole = images / "4.png", tmp_path / "out", tmp_path / "whole"
    save = ("--save", "coco,table")
    moved = last.rename(tmp_path / last.name)
    assert run("threshold_otsu", images, "--out", out, *save) == 0
    for name in ("images.jsonl", "annotations.jsonl", "objects.csv", "done.jsonl"):
        with (out / ".predict" / name).open("ab") as stream:
            stream.write(b'{"id": 4}\n{"id"' if name != "done.jsonl" else b'{"path": "4.png"')
    assert run("threshold_otsu", images, "--out", out, *save) == 0
    assert len(predicted(out)["images"]) == 3
    moved.rename(last)
    for folder in (out, whole):
        assert run("threshold_otsu", images, "--out", folder, *save) == 0
    for name in ("predictions.json", "objects.csv"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "content"),
    [("settings.json", b"{"), ("done.jsonl", b"[]\n"), ("done.jsonl", b"\xff\n"), ("images.jsonl", b"")],
)
def test_damaged_files_of_an_earlier_run_are_named(
    name: str, content: bytes, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("threshold_otsu", images, "--out", out) == 0
    (out / ".predict" / name).write_bytes(content)
    assert run("threshold_otsu", images, "--out", out) == 1
    error = capsys.readouterr().err
    assert f"{name}: damaged; begin anew with --overwrite" in error
    assert len(error.splitlines()) == 1
    assert run("threshold_otsu", images, "--out", out, "--overwrite") == 0
    assert len(predicted(out)["images"]) == 4


def test_a_network_finds_what_it_finds_from_python(
    workplace: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = workplace.data / "val"
    assert run(workplace.run, folder, "--out", tmp_path / "out", "--score", 0, "--device", "cpu") == 0
    content = predicted(tmp_path / "out")
    assert [(entry["id"], entry["name"]) for entry in content["categories"]] == [(3, "square"), (7, "bar")]
    model = st.load(workplace.run)
    for image in content["images"]:
        own = [entry for entry in content["annotations"] if entry["image_id"] == image["id"]]
        (found,) = model.segment([folder / image["file_name"]])
        assert [entry["score"] for entry in own] == found.scores.tolist()
        assert [entry["segmentation"] for entry in own] == list(found.rles)
        assert [entry["category_id"] for entry in own] == [{1: 3, 2: 7}[label] for label in found.labels.tolist()]
    kept = [
        sum(score >= model.score_threshold for score in found.scores)
        for found in model.segment(sorted(folder.iterdir()))
    ]
    assert [len(found) for found in model.predict(folder)] == kept
    few = tmp_path / "few"
    assert run(workplace.run, folder, "--out", few, "--score", 0, "--max-dets", 2, "--device", "cpu") == 0
    assert len(predicted(few)["annotations"]) == 2 * len(predicted(few)["images"])
    assert {len(found) for found in st.load(workplace.run, max_dets=2).segment(sorted(folder.iterdir()))} == {2}
    assert "5 images reached the 2 objects" in capsys.readouterr().out


def test_categories_may_have_scores_of_their_own(workplace: Workplace, tmp_path: Path) -> None:
    """Given on the command line, or kept in the checkpoint."""
    images, path = sorted((workplace.data / "val").iterdir())[:1], tmp_path / "best.pt"
    found = st.load(workplace.run).segment(images)
    middle = float(np.median(np.concatenate([one.scores for one in found])))
    kept = sum(int(((one.labels == 1) | (one.scores >= middle)).sum()) for one in found)
    given = (*images, "--out", tmp_path / "out", "--save", "coco", "--score", f"bar={middle},square=0")
    assert run(workplace.run, *given, "--device", "cpu") == 0
    content = predicted(tmp_path / "out")
    assert len(content["annotations"]) == kept
    assert content["info"]["score_threshold"] == 0
    stored = load_checkpoint(checkpoint_file(workplace.run))
    replace(stored, score_threshold=middle, category_thresholds={"square": 0.0}).save(path)
    model = st.load(path)
    assert sum(map(len, model.predict(images))) == kept
    wrong = module.PredictionSettings(score_threshold={"bra": 0.1})
    with pytest.raises(SegtrainError, match="no category 'bra'; did you mean bar"):
        module.predict_files(load_applied(str(path)), [], tmp_path / "none", wrong)


def test_a_prediction_is_evaluated_as_its_method_is(workplace: Workplace, tmp_path: Path) -> None:
    """Scores of classical methods only rank, so that none of them may fall below an operating point."""
    images = workplace.data / "val"
    assert run("threshold_otsu", images, "--out", tmp_path / "out", "--save", "coco") == 0
    data = st.load_coco(workplace.data / "val.json", images)
    with pytest.warns(UserWarning, match="matched by their file names|stands for any"):
        read = st.load_results(tmp_path / "out" / "predictions.json", data)
    assert read.score_threshold == 0
    own = st.classical("threshold_otsu")
    scores = [st.score(found, data)["class_agnostic"] for found in (read, st.predict(own, data))]
    assert scores[0] is not None
    assert scores[1] is not None
    for metric in ("mask_ap", "f1_50", "miou"):
        assert scores[0].metrics[metric] == scores[1].metrics[metric], metric


def test_what_others_have_written_is_kept(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, save in (("labels", "labels"), ("objects.csv", "table")):
        out = tmp_path / name
        (out / name).mkdir(parents=True) if save == "labels" else (out.mkdir(), (out / name).touch())
        assert run("threshold_otsu", images, "--out", out, "--save", save) == 1
        assert f"holds {name} already" in capsys.readouterr().err


def test_results_of_other_predictions_are_no_images(images: Path) -> None:
    for name in ("found", "again"):
        assert run("threshold_otsu", images, "--out", images / name) == 0
        assert len(predicted(images / name)["images"]) == 4


def test_masks_that_overlap(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The better one is on top, and the pixels are counted."""
    (tmp_path / "conf" / "segmenter").mkdir(parents=True)
    target = "tests.helpers.overlapping_squares.OverlappingSquares"
    (tmp_path / "conf" / "segmenter" / "squares.yaml").write_text(f"_target_: {target}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert run("squares", images / "1.png", "--out", "o", "--save", "labels,coco", "--trust", "tests") == 0
        assert run("squares", images / "1.png", "--out", "p", "--save", "labels") == 1
    labels = tifffile.imread(tmp_path / "o" / "labels" / "1.tif")
    assert [int((labels == number).sum()) for number in (1, 2)] == [16, 12]
    said = capsys.readouterr()
    assert "label maps: 4 pixels belong to several masks" in said.out
    assert "not part of segtrain" in said.err


def test_label_maps_of_many_objects_have_32_bits(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_LABELS", 2)
    assert run("threshold_otsu", images, "--out", tmp_path / "out", "--save", "labels") == 0
    kinds = [tifffile.imread(tmp_path / "out" / "labels" / f"{number}.tif").dtype for number in (1, 2, 3, 4)]
    assert kinds == [np.uint16, np.uint16, np.uint32, np.uint32]


def test_shrunk_images_are_said(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = {**checkpoint().config["segmenter"], "max_size": 40}
    config = {**checkpoint().config, "segmenter": node}
    checkpoint(model=tiny(max_size=40).state_dict(), config=config).save(tmp_path / "best.pt")
    command = [tmp_path / "best.pt", images / "1.png", "--device", "cpu", "--save", "coco", "--out"]
    assert run(*command, tmp_path / "off", "--tile", "off") == 0
    said = capsys.readouterr().out
    assert "1 image shrunk below the scale of the training: small objects may be missed; --tile auto cuts" in said
    assert run(*command, tmp_path / "auto") == 0
    assert "shrunk below" not in capsys.readouterr().out


def test_few_grey_levels_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deep = (picture(2).astype(np.uint16) // 40) + 300
    tifffile.imwrite(tmp_path / "deep.tif", deep)
    assert run("threshold_otsu", tmp_path / "deep.tif", "--out", tmp_path / "out") == 0
    said = capsys.readouterr()
    assert "1 image of few grey levels" in said.out
    assert "give --intensity 300,305" in said.out + said.err
    assert run("threshold_otsu", tmp_path / "deep.tif", "--out", tmp_path / "well", "--intensity", "300,305") == 0
    assert len(predicted(tmp_path / "well")["annotations"]) == 2


def test_pixel_sizes_of_ome_and_of_the_user(tmp_path: Path) -> None:
    about = {
        "axes": "YX",
        "PhysicalSizeX": 500,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 500,
        "PhysicalSizeYUnit": "nm",
    }
    tifffile.imwrite(tmp_path / "a.ome.tif", picture(1), ome=True, metadata=about)
    assert pixel_size_of(tmp_path / "a.ome.tif") == 0.5
    assert (
        run("threshold_otsu", tmp_path / "a.ome.tif", "--out", tmp_path / "o", "--save", "table", "--pixel-size", 2)
        == 0
    )
    (row,) = table(tmp_path / "o")
    assert float(row["area_um2"]) == 4 * int(row["area_px"])


def test_channels_are_those_that_are_named_or_those_of_the_training(tmp_path: Path) -> None:
    stack = np.full((5, 60, 70), 30, np.uint8)
    stack[3] = picture(3)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack", metadata={"axes": "CYX"})
    for channel, objects in ((3, 3), (1, 0)):
        out = tmp_path / f"out_{channel}"
        assert run("threshold_otsu", tmp_path / "a.tif", "--out", out, "--channels", channel) == 0
        assert len(predicted(out)["annotations"]) == objects
    config = {**checkpoint().config, "data": {"channels": [3, 3, 1], "exif": "ignore"}}
    checkpoint(model=tiny().state_dict(), config=config).save(tmp_path / "best.pt")
    model = load_applied(str(tmp_path / "best.pt"))
    assert (model.reading.channels, model.reading.exif) == ((3, 3, 1), "ignore")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["treshold_otsu", "IMAGES"], "did you mean threshold_otsu?"),
        (["missing/run", "IMAGES"], "missing/run: no such file"),
        (["threshold_otsu", "IMAGES", "--save", "boxes"], "--save boxes: choose of coco, polygons, overlays"),
        (["threshold_otsu", "IMAGES", "--score", "2"], "--score 2: give auto, a number from 0 to 1, or NAME=NUMBER"),
        (["threshold_otsu", "IMAGES", "--intensity", "a,b"], "--intensity a,b: give auto, full, or LOW,HIGH"),
        (["threshold_otsu", "IMAGES", "--workers", "0"], "--workers: 0 is not a whole number from 1"),
        (["threshold_otsu", "IMAGES", "--max-dets", "x"], "--max-dets: x is not a whole number from 1"),
        (["threshold_otsu", "IMAGES", "--max-dets", "3"], "--max-dets: for networks alone"),
        (["threshold_otsu", "IMAGES", "--device", "cuda:9"], "--device: for networks alone"),
        (["RUN", "IMAGES", "--device", "cuda:9"], "device=cuda:9: not there, this machine has"),
        (["threshold_otsu", "a**b"], "a**b: no pattern of files"),
        (["threshold_otsu"], "the following arguments are required: SOURCE"),
    ],
)
def test_wrong_arguments(
    arguments: list[str], said: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "RUN" in arguments:
        checkpoint(model=tiny().state_dict()).save(tmp_path / "run" / "checkpoints" / "best.pt")
    names = {"IMAGES": str(images), "RUN": str(tmp_path / "run")}
    given = [names.get(argument, argument) for argument in arguments]
    assert run(*given, "--out", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()
