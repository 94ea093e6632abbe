"""Videos: frames in, overlays out, through either library."""

import json
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import segtrain as st
from segtrain.cli.main import main
from segtrain.data.images.image_files import ImageError
from segtrain.data.images.reading import Reading
from segtrain.prediction import overlay_video, videos
from segtrain.prediction.overlay_video import OverlayVideo
from segtrain.prediction.videos import frame_samples, read_frames

FRAMES = 7


@pytest.fixture(params=["PyAV", "OpenCV"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The library that reads and writes."""
    if request.param == "PyAV":
        pytest.importorskip("av", reason="PyAV is not installed (pip install '.[video]')")
    else:
        cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
        if not cv2.videoio_registry.hasBackend(cv2.CAP_FFMPEG):
            pytest.skip("this OpenCV reads no videos")
        for module in (videos, overlay_video):
            monkeypatch.setattr(module, "has_pyav", lambda: False)
    return str(request.param)


def drawn(number: int) -> Any:
    """A bright square that moves to the right, on a ground of odd size."""
    pixels = np.full((49, 65, 3), 30, np.uint8)
    pixels[10:22, 4 + 6 * number : 16 + 6 * number] = (220, 200, 180)
    return pixels


@pytest.fixture
def clip(library: str, tmp_path: Path) -> Path:
    video = OverlayVideo(tmp_path / "clips" / "clip.mp4", Fraction(10))
    video.path.parent.mkdir()
    for number in range(FRAMES):
        video.write(drawn(number))
    video.close()
    return video.path


def run(*arguments: object) -> int:
    return main(["predict", *map(str, arguments)])


def images_of(out: Path) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = json.loads((out / "predictions.json").read_text())["images"]
    return content


def test_every_nth_frame_is_read(clip: Path) -> None:
    frames = list(read_frames(clip, 3, 10**6))
    assert [frame.number for frame in frames] == [1, 4, 7]
    assert {(frame.rate, frame.total) for frame in frames} == {(Fraction(10), FRAMES)}
    for frame in frames:
        expected = drawn(frame.number - 1).astype(int)
        assert np.abs(frame.rgb[:49, :65] - expected).mean() < 8
    blue = frame_samples(clip, frames[0], Reading(channels=(2,))).array
    assert np.array_equal(blue, frames[0].rgb[..., 2])
    with pytest.raises(ImageError, match="3 is asked for"):
        frame_samples(clip, frames[0], Reading(channels=(3, 0, 1)))


def test_frames_are_images_and_overlays_a_video(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    everything = "coco,overlays,labels,masks,table,outlines,index,pages"
    assert run("threshold_otsu", clip.parent, "--out", out, "--every", 2, "--save", everything) == 0
    images = images_of(out)
    assert [image["file_name"] for image in images] == [f"clip.mp4/{n:06d}.png" for n in (1, 3, 5, 7)]
    assert [(image["source"], image["frame"]) for image in images] == [("clip.mp4", n) for n in (1, 3, 5, 7)]
    assert sorted(path.name for path in (out / "labels" / "clip.frames").iterdir()) == [
        f"{n:06d}.tif" for n in (1, 3, 5, 7)
    ]
    assert main(["check", str(out / "predictions.json"), str(out / "pages")]) == 0
    overlays = list(read_frames(out / "overlays" / "clip.mp4", 1, 10**6))
    assert len(overlays) == 4
    assert overlays[0].rate == 5
    assert overlays[0].rgb.shape == (150, 198, 3)  # three times as large
    assert [len(found) for found in st.classical("threshold_otsu").predict(clip, every=2)] == [1, 1, 1, 1]
    assert 'href="overlays/clip.mp4"' in (out / "index.html").read_text()


def test_a_video_that_cannot_be_read_is_named(
    clip: Path, library: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole, bad = clip.read_bytes(), clip.with_name("bad.mp4")
    bad.write_bytes(whole[: len(whole) // 3])
    assert run("threshold_otsu", clip.parent, "--out", tmp_path / "out", "--save", "overlays") == 0
    said = capfd.readouterr()
    remedy = "pip install 'segtrain[video]'" if library == "OpenCV" else "cannot read the video"
    assert remedy in said.out
    assert "Traceback" not in said.err
    assert [path.name for path in (tmp_path / "out" / "overlays").iterdir()] == ["clip.mp4"]


def test_a_video_that_breaks_off_leaves_nothing(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import cv2

    capture = cv2.VideoCapture

    class Broken:
        """Of each video, the first three frames."""

        def __init__(self, path: str) -> None:
            self.whole, self.left = capture(path), 3

        def __getattr__(self, name: str) -> Any:
            return getattr(self.whole, name)

        def grab(self) -> bool:
            self.left -= 1
            return self.left >= 0 and bool(self.whole.grab())

    monkeypatch.setattr(cv2, "VideoCapture", Broken)
    monkeypatch.setattr(videos, "has_pyav", lambda: False)
    assert run("threshold_otsu", clip, "--out", tmp_path / "out") == 1
    assert "breaks off after 3 of 7 frames" in capsys.readouterr().out
    assert images_of(tmp_path / "out") == []
    assert not [name for _, _, files in os.walk(tmp_path / "out" / "overlays") for name in files]


def test_frames_that_are_too_large(clip: Path) -> None:
    with pytest.raises(ImageError, match="raise --max-pixels"):
        next(read_frames(clip, 1, 100))


def test_frames_of_another_size_are_scaled(library: str, tmp_path: Path) -> None:
    video = OverlayVideo(tmp_path / "a.mp4", Fraction(30000, 1001))
    for size in ((40, 60), (80, 90)):
        video.write(np.full((*size, 3), 128, np.uint8))
    video.close()
    frames = list(read_frames(tmp_path / "a.mp4", 1, 10**6))
    assert [frame.rgb.shape for frame in frames] == [(40, 60, 3)] * 2
    assert float(frames[0].rate) == pytest.approx(29.97, abs=0.001)


def test_a_rotated_video_is_turned_upright(library: str, tmp_path: Path) -> None:
    """As telephones write them: a matrix in the header turns what is stored."""
    video = OverlayVideo(tmp_path / "a.mp4", Fraction(10))
    pixels = np.full((40, 60, 3), 20, np.uint8)
    pixels[:20, :30] = 230
    for _ in range(3):
        video.write(pixels)
    video.close()
    content = bytearray((tmp_path / "a.mp4").read_bytes())
    matrix = content.index(b"tkhd") + 44
    turned = (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    content[matrix : matrix + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in turned)
    (tmp_path / "a.mp4").write_bytes(content)
    frame = next(read_frames(tmp_path / "a.mp4", 1, 10**6))
    assert frame.rgb.shape == (60, 40, 3)
    assert [frame.rgb[y, x].mean() > 128 for y, x in ((10, 30), (10, 10), (50, 30), (50, 10))] == [True] + [False] * 3
