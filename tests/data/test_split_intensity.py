"""One range of intensities for a data set: found once, kept, and used by every command alike."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage.filters import threshold_otsu

import segtrain as st
from segtrain.benchmark.results import Results
from segtrain.data.check import command
from segtrain.data.check.intensity_range import INTENSITY_FILE, Measurement, check_intensity, find_intensity
from segtrain.data.images.intensities.intensity import Intensity, Range
from segtrain.errors import SegtrainError
from segtrain.training.checkpoint import load_checkpoint
from tests.helpers.scripts import SMALL, data_of, message, run, write_data

Grey = np.ndarray[Any, np.dtype[np.uint8]]
FLOAT_MAX = float(np.finfo(np.float32).max)
OTSU = ["methods=none", "+segmenter@segmenters.otsu=threshold_otsu", "bootstrap.resamples=0", "gallery=0"]


def without_data(values: Any, fill: float) -> Any:
    values[:3, :] = fill
    return values


# How the same picture, grey from 0 to 255, is stored.
STORED: dict[str, Callable[[Any], Any]] = {
    "a part of 12 bits": lambda grey: np.rint(200 + grey * 168 / 255).astype(np.uint16),
    "12 bits": lambda grey: np.rint(grey * 4095 / 255).astype(np.uint16),
    "12 bits of colour": lambda grey: np.rint(np.stack([grey] * 3, 2) * 4095 / 255).astype(np.uint16),
    "10 bits": lambda grey: np.rint(grey * 1023 / 255).astype(np.uint16),
    "16 bits": lambda grey: (grey * 257).astype(np.uint16),
    "a hot pixel": lambda grey: np.where(np.arange(grey.size).reshape(grey.shape) == 5, 65535, 200 + grey).astype("u2"),
    "signed 8 bits": lambda grey: (grey - 128).astype(np.int8),
    "signed, as of tomography": lambda grey: np.rint(grey * 2600 / 255 - 1000).astype(np.int16),
    "32 bits": lambda grey: np.rint(grey * 7).astype(np.int32),
    "floats to 1": lambda grey: (grey / 255).astype(np.float32),
    "floats to 300": lambda grey: (grey * 300 / 255).astype(np.float32),
    "floats from -1 to 1": lambda grey: (grey / 127.5 - 1).astype(np.float32),
    "floats of 1e-5": lambda grey: (grey * 1e-7).astype(np.float32),
    "floats with a fill value": lambda grey: without_data((grey * 300 / 255).astype(np.float32), FLOAT_MAX),
    "floats with -9999": lambda grey: without_data((grey * 300 / 255).astype(np.float32), -9999),
    "floats with NaN": lambda grey: without_data((grey * 300 / 255).astype(np.float32), np.nan),
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The pictures in grey of 8 bits, with noise."""
    root = write_data(tmp_path / "data", images=3)
    rng = np.random.default_rng(0)
    for path in sorted(root.glob("*/*.png")):
        grey = np.array(Image.open(path).convert("L")).astype(int)
        if grey.max() == grey.min():  # the picture without annotations
            grey[12:24, 14:26] = 200
        Image.fromarray(np.clip(grey + rng.integers(-30, 31, grey.shape), 10, 230).astype(np.uint8)).save(path)
    return root


def store(data: Path, how: Callable[[Any], Any], splits: tuple[str, ...] = ("train", "val")) -> Path:
    """Replace the pictures by TIFF files of other samples."""
    for split in splits:
        for path in sorted((data / split).glob("*.png")):
            with Image.open(path) as image:
                tifffile.imwrite(path.with_suffix(".tif"), how(np.asarray(image).astype(np.float64)))
            path.unlink()
        (data / f"{split}.json").write_text((data / f"{split}.json").read_text().replace(".png", ".tif"))
    return data


def foreground(data: Path, **settings: Any) -> Any:
    """Segment the validation images by Otsu's threshold alone; any change of the samples' order moves a pixel."""
    split = st.load_coco(data / "val.json", data / "val", **settings)
    assert split.images is not None
    greys = [split.images.read(image)[..., 0] for image in split.index.images]
    return np.concatenate([grey > threshold_otsu(grey) for grey in greys])


@pytest.mark.parametrize("kind", STORED)
def test_any_samples_are_segmented_like_8_bits(data: Path, kind: str) -> None:
    expected = foreground(data)
    assert 0.1 < expected.mean() < 0.3
    differing = (foreground(store(data, STORED[kind])) != expected).sum()
    assert differing == (3 if kind == "a hot pixel" else 0)  # that pixel itself is white in each image


@pytest.mark.slow
def test_train_and_evaluate_use_the_range_of_training(data: Path) -> None:
    store(data, STORED["a part of 12 bits"])
    for path in (data / "val").glob("*.tif"):  # darker, so that their own range would be another
        tifffile.imwrite(path, tifffile.imread(path) - 5)
    network = [*SMALL, *data_of(data), "output_dir=run"]
    finished = run("train", *network, folder=data)
    assert finished.code == 0, finished.err
    said = [line for line in finished.out.splitlines() if "intensity: " in line]
    assert len(said) == 1
    assert "intensity: uint16 from 207 to 352 (auto, from 3 images)" in said[0]
    kept = Intensity.from_plain(load_checkpoint(data / "run" / "checkpoints" / "last.pt").intensity)
    assert kept.ranges["uint16"].low > 203
    for source in ([], data_of(data)):  # from the checkpoint, and with data named again
        rows = ["methods=mask_rcnn", "bootstrap.resamples=0", f"output_dir=e{len(source)}"]
        evaluated = run("evaluate", "checkpoint=run", *source, *rows, folder=data)
        assert evaluated.code == 0, evaluated.err
        assert f"intensity: {kept}, as in the checkpoint" in evaluated.out
    replaced = run("evaluate", "checkpoint=run", *OTSU, "data.intensity=[190,400]", "output_dir=e", folder=data)
    assert f"intensity: all samples from 190 to 400 (given); the checkpoint has {kept}" in replaced.out
    model = st.load(data / "run")
    assert model.intensity.ranges == kept.ranges
    grey = st.read_image(data / "val" / "101.tif", intensity=model.intensity)
    assert len(np.unique(grey)) > 50
    resumed = run("train", *network, "trainer.max_steps=3", "resume=auto", folder=data)
    assert f"intensity: {kept}, as in the checkpoint" in resumed.out


def test_evaluation_takes_the_range_of_the_training_images_where_they_are_named(data: Path) -> None:
    store(data, STORED["a part of 12 bits"])
    for path in (data / "val").glob("*.tif"):
        tifffile.imwrite(path, tifffile.imread(path) - 5)
    both = run("evaluate", *data_of(data), *OTSU, "output_dir=a", folder=data)
    alone = [*data_of(data), "data.train_annotations=null", "data.train_images=null"]
    own = run("evaluate", *alone, *OTSU, "output_dir=b", folder=data)
    for finished, low in ((both, "207"), (own, "202")):
        assert finished.code == 0, finished.err
        assert f"intensity: uint16 from {low}" in finished.out


def test_a_drawn_split_keeps_its_range(data: Path) -> None:
    store(data, STORED["floats to 300"])
    drawn = [*data_of(data), "data.val_annotations=null", "data.val_images=null", "data.val_fraction=0.4"]
    assert run("train", *SMALL, *drawn, "output_dir=run", folder=data).code == 0
    kept = Intensity.from_plain(json.loads((data / "run" / "split" / INTENSITY_FILE).read_text()))
    assert kept.rule == "auto"
    split = st.load_coco(data / "run" / "split" / "val.json", data / "train")
    assert split.images is not None
    assert split.images.intensity == kept
    (data / "run" / "split" / INTENSITY_FILE).write_text("{}")
    with pytest.raises(SegtrainError, match=rf"{INTENSITY_FILE}: cannot be read .*; remove it, or give data.intensity"):
        st.load_coco(data / "run" / "split" / "val.json", data / "train")


def test_8_bits_are_neither_measured_nor_told(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segtrain.data.check.intensity_range.measure", None)
    finished = run("evaluate", *data_of(data), *OTSU, "output_dir=a", folder=data)
    assert finished.code == 0, finished.err
    assert "intensity" not in finished.out
    assert st.load_coco(data / "val.json", data / "val").images is not None


def test_types_that_the_training_lacks_are_looked_for_in_validation(data: Path) -> None:
    store(data, STORED["floats to 300"], ("val",))
    finished = run("evaluate", *data_of(data), *OTSU, "output_dir=a", folder=data)
    assert finished.code == 0, finished.err
    assert "intensity: float32 from 1" in finished.out


def test_a_mixture_is_read_by_type(data: Path) -> None:
    expected = foreground(data)
    for path, how in zip(sorted((data / "val").glob("*.png")), ("a part of 12 bits", "floats to 300", ""), strict=True):
        if how:
            with Image.open(path) as image:
                tifffile.imwrite(path.with_suffix(".tif"), STORED[how](np.asarray(image).astype(np.float64)))
            (data / "val.json").write_text((data / "val.json").read_text().replace(path.name, f"{path.stem}.tif"))
    assert np.array_equal(foreground(data), expected)
    split = st.load_coco(data / "val.json", data / "val")
    assert split.images is not None
    assert split.images.intensity.ranges.keys() == {"uint16", "float32"}


def test_floats_of_two_scales_are_refused(data: Path) -> None:
    store(data, STORED["floats to 1"])
    path = data / "val" / "101.tif"
    tifffile.imwrite(path, tifffile.imread(path) * 255)
    with pytest.raises(SegtrainError, match=r"float32 images of different scales: 2 from 0 to 1 and 1 from 0 to 255"):
        st.load_coco(data / "val.json", data / "val")
    with pytest.raises(SegtrainError, match="image that reads as nearly constant, as most do"):
        st.load_coco(data / "val.json", data / "val", intensity=(0, 255))


def test_the_full_range_of_dark_images_is_an_error(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(data, STORED["a part of 12 bits"])
    for script, own in (("train", SMALL), ("evaluate", OTSU)):
        text = message(run(script, *own, *data_of(data), "data.intensity=full", "output_dir=a", folder=data))
        assert "samples from 20" in text
        assert "read by the range 0 to 65535: 1 grey level (1 of 3: image that reads as nearly constant" in text
        assert "give data.intensity the range that they use" in text
    arguments = [str(data / "val.json"), str(data / "val"), "--json"]
    assert command.main([*arguments, "--intensity", "full"]) == 1
    found = {issue["kind"]: issue for issue in json.loads(capsys.readouterr().out)["findings"]}
    assert found["image-constant-in-most"]["count"] == 3
    for rule, said in (
        ("auto", "uint16 from 20"),
        ("200,368", "all samples from 200 to 368"),
        ("percentile", "uint16"),
    ):
        assert command.main([*arguments, "--intensity", rule]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["intensity"].startswith(said)
        assert not {issue["kind"] for issue in report["findings"]} & {"image-constant", "image-few-levels"}
    assert command.main([*arguments, "--intensity", "bright"]) == 1
    assert "bright is neither auto, full, percentile nor a range as LOW,HIGH" in capsys.readouterr().err


def test_few_levels_and_missing_data_are_noted(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(data, STORED["floats with NaN"])
    assert command.main([str(data / "val.json"), str(data / "val"), "--json", "--intensity", "0,4000"]) == 0
    found = {issue["kind"]: issue for issue in json.loads(capsys.readouterr().out)["findings"]}
    assert found["image-blank-pixels"]["count"] == 3
    assert found["image-blank-pixels"]["examples"][0] == "101.tif (image 101): 144 of 2,304 pixels"
    assert found["image-few-levels"]["count"] == 3


def test_pictures_of_one_grey_are_an_error_in_most_of_a_set(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = sorted((data / "val").glob("*.png"))
    for count, kind in ((1, "image-constant"), (2, "image-constant-in-most")):
        Image.new("L", (48, 48), 2).save(paths[count])
        assert command.main([str(data / "val.json"), str(data / "val"), "--json"]) == (count == 2)
        found = {issue["kind"]: issue for issue in json.loads(capsys.readouterr().out)["findings"]}
        assert found[kind]["count"] == count


def test_reading_alone_warns_of_a_range_that_is_hardly_used(data: Path) -> None:
    path = store(data, STORED["a part of 12 bits"]) / "val" / "101.tif"
    with pytest.warns(UserWarning, match=r"101\.tif: its samples lie from 20.*, and 1 of 256 grey levels remain"):
        st.classical("threshold_otsu").segment([path])
    assert len(np.unique(st.read_image(path, intensity=(200, 368)))) > 60
    assert np.array_equal(
        st.read_image(path, intensity={"uint16": (200, 368)}), st.read_image(path, intensity=(200, 368))
    )
    with pytest.raises(SegtrainError, match="'auto' needs a data set"):
        st.read_image(path, intensity="auto")
    tifffile.imwrite(path, np.linspace(0, 300, 12, dtype=np.float32).reshape(3, 4))
    with pytest.raises(SegtrainError, match=r"have no full range beyond 0 to 1; give intensity=\(low, high\)"):
        st.read_image(path)


def test_the_report_says_first_that_nothing_can_be_seen(data: Path) -> None:
    store(data, STORED["a part of 12 bits"])
    dark = ["data.intensity=full", "data.check=warn", "output_dir=dark"]
    assert run("evaluate", *data_of(data), *OTSU, *dark, folder=data).code == 0
    results = Results.load(data / "dark" / "results.json")
    assert results.methods["otsu"].metric("mask_ap") == 0
    said = "3 of 3 images read as nearly constant, grey 1 to 1 of 255, so that no method can see objects in them"
    assert results.reasons[0].why.startswith(said)
    assert results.caveats[0].startswith(said)
    assert run("evaluate", *data_of(data), *OTSU, "output_dir=light", folder=data).code == 0
    light = Results.load(data / "light" / "results.json")
    assert not any("nearly constant" in text for text in [*light.caveats, *(one.why for one in light.reasons)])


def test_a_type_without_a_range_is_named(data: Path) -> None:
    store(data, STORED["a part of 12 bits"])
    given = "data.intensity={float32: [0, 1]}"
    text = message(run("evaluate", *data_of(data), *OTSU, given, "output_dir=a", folder=data))
    assert "101.tif: its samples of type uint16 are none of those with a range: float32 from 0 to 1 (given)" in text
    assert "give data.intensity=[LOW, HIGH], or '{uint16: [LOW, HIGH]}' for this type alone" in text


def test_images_are_measured_once(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(data, STORED["a part of 12 bits"])
    first = st.load_coco(data / "val.json", data / "val").images
    monkeypatch.setattr("segtrain.data.check.intensity_range.measure", None)
    again = st.load_coco(data / "val.json", data / "val").images
    assert first is not None
    assert again is not None
    assert again.intensity == first.intensity
    tifffile.imwrite(data / "val" / "101.tif", np.zeros((48, 48), np.uint16))
    with pytest.raises(TypeError, match="'NoneType' object is not callable"):
        st.load_coco(data / "val.json", data / "val")


def test_ranges_and_issues_of_measurements() -> None:
    deep = [Measurement(f"{number}.tif", "uint16", (0, 65535), 200, 368) for number in range(3)]
    found = find_intensity([*deep, Measurement("a.png", "uint8", (0, 255), 3, 9)], "auto")
    assert found.ranges == {"uint16": (200, 368)}
    assert find_intensity([Measurement("a.png", "uint8", (0, 255), 3, 9)], "percentile").ranges == {"uint8": (3, 9)}
    assert not list(check_intensity(deep, found))
    assert [issue.kind for issue in check_intensity(deep, Intensity())] == ["image-constant-in-most"]
    wide = Intensity({"uint16": Range(0, 4095)}, others=None, rule="given")
    assert [issue.kind for issue in check_intensity(deep, wide)] == ["image-few-levels"]
    assert found.completed(Intensity({"int16": Range(0, 1)}, None, "auto", 2)).ranges.keys() == {"uint16", "int16"}
    assert not list(check_intensity([], found))
