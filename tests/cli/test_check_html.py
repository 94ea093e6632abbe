"""``segtrain check --html``: one page with the findings, the formats, and the first images as they are read."""

import base64
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from segtrain.cli import check_html, launch
from segtrain.cli.main import main
from segtrain.data.check import command
from segtrain.training import checkpoint
from tests.conftest import Workplace
from tests.helpers.scripts import write_data


def pictures(page: Path) -> list[np.ndarray]:
    found = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)"', page.read_text())
    return [np.array(Image.open(io.BytesIO(base64.b64decode(content)))) for content in found]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data")


def check(data: Path, page: Path, *options: str) -> int:
    return main(["check", str(data / "train.json"), str(data / "train"), "--html", str(page), *options])


def test_the_page_holds_all_tables_and_the_first_images(data: Path, tmp_path: Path) -> None:
    (data / "train" / "2.png").write_bytes(b"<html>")
    assert check(data, tmp_path / "new" / "page.html") == 1
    page = (tmp_path / "new" / "page.html").read_text()
    assert (
        "2.png (image 2): cannot read the image (an HTML page (a failed download?): download the image again)" in page
    )
    for word in ("PNG, 8-bit RGB", "As they are read", "train.json", "1 error"):
        assert word in page
    assert "http" not in re.sub(r"http-equiv|http://www\.w3\.org", "", page)  # it needs no network
    assert len(pictures(tmp_path / "new" / "page.html")) == 4


def test_pictures_are_those_that_are_read(tmp_path: Path, data: Path) -> None:
    pages = np.zeros((3, 48, 48), dtype=np.uint8)
    pages[1, :, :24] = 200
    for path in (data / "train").iterdir():
        path.unlink()
    text = (data / "train.json").read_text()
    names = sorted(set(re.findall(r'"(\d+\.png)"', text)))
    for name in names:
        tifffile.imwrite(data / "train" / name.replace("png", "tif"), pages, photometric="minisblack")
    (data / "train.json").write_text(text.replace(".png", ".tif"))
    for option, bright in (("first", 0), ("max", 200), ("mean", 67)):
        assert check(data, tmp_path / "page.html", "--pages", option) == (option == "first")  # pages without objects
        picture = np.median(pictures(tmp_path / "page.html")[0], axis=2)
        assert abs(np.median(picture[:, : picture.shape[1] // 2 - 8]) - bright) <= 3
        assert np.median(picture[:, picture.shape[1] // 2 + 8 :]) <= 3


def test_a_network_sees_them_at_its_own_resolution(data: Path, tmp_path: Path) -> None:
    assert check(data, tmp_path / "page.html", "--experiment", "nuclei") == 0
    page = (tmp_path / "page.html").read_text()
    assert "As the network of experiment=nuclei sees them" in page
    assert "48x48, input 96x96" in page
    assert "For the network of experiment=nuclei." in page  # the file states no boxes
    assert "<p>Nothing to change.</p>" in page


def test_advice_for_a_network_is_printed(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["check", str(data / "train.json"), str(data / "train"), "--model", "nuclei"]
    assert main(arguments) == 0
    assert "Nothing to change for the network of experiment=nuclei." in capsys.readouterr().out
    assert main([*arguments, "--json"]) == 0
    advice = json.loads(capsys.readouterr().out)["advice"]
    assert (advice["lines"], advice["crowded_images"]) == ([], 0)


def test_limits_of_detections_are_those_of_the_network(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads((data / "train.json").read_text())
    image, (known, *_) = content["images"][0]["id"], content["annotations"]
    more = [known | {"id": 10_000 + n, "image_id": image} for n in range(150)]
    (data / "train.json").write_text(json.dumps(content | {"annotations": [*content["annotations"], *more]}))
    arguments = ["check", str(data / "train.json"), str(data / "train"), "--json"]
    limits = (), ("--model", "nuclei"), ("--model", "nuclei", "--max-dets", "120")
    found = []
    for options in limits:
        main([*arguments, *options])
        printed = json.loads(capsys.readouterr().out)
        kinds = [finding["kind"] for finding in printed["findings"]]
        found.append(("over-max-dets" in kinds, printed.get("advice", {}).get("crowded_images")))
    assert found == [(True, None), (False, 0), (True, 1)]


@pytest.mark.slow
def test_an_experiment_that_trains_on_crops_is_not_told_to_do_so(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole images would be shrunk to 16 pixels."""
    built = checkpoint.build_trainable
    monkeypatch.setattr(
        checkpoint, "build_trainable", lambda node, *rest, **more: built({**node, "max_size": 16}, *rest, **more)
    )
    arguments = ["check", str(data / "train.json"), str(data / "train"), "--json", "--model"]
    shrunk = []
    for experiment, height in (("demo", None), ("nuclei", 6)):
        if height is not None:
            composed = launch.compose_runs

            def with_small_crops(*given: object, composed: Any = composed) -> object:
                (config,) = composed(*given)
                config["augmentation"]["transforms"]["crop"] |= {"height": 6, "width": 6}
                return [config]

            monkeypatch.setattr(launch, "compose_runs", with_small_crops)
        main([*arguments, experiment])
        shrunk.append(json.loads(capsys.readouterr().out)["advice"]["shrunk_images"])
    assert shrunk[0] > 0
    assert shrunk[1] == 0


def test_a_checkpoint_sees_them_with_its_settings(workplace: Workplace, data: Path, tmp_path: Path) -> None:
    assert check(data, tmp_path / "page.html", "--checkpoint", str(workplace.run)) == 0
    page = (tmp_path / "page.html").read_text()
    assert "best.pt sees them" in page
    assert len(pictures(tmp_path / "page.html")) == 5


def test_nothing_but_an_earlier_page_is_replaced(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert check(data, tmp_path / "page.html") == 0
    (tmp_path / "report.html").write_text("<html>mine</html>")
    for path in (tmp_path / "report.html", tmp_path, data / "train.json"):
        capsys.readouterr()
        assert check(data, path) == 1
        assert "exists already, and is no page of segtrain check" in capsys.readouterr().err
    assert (tmp_path / "report.html").read_text() == "<html>mine</html>"


def test_mistakes_are_told(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(data / "train.json"), str(data / "train")]
    assert check(data, tmp_path / "a.html", "--experiment", "nucleus") == 1
    assert "error:" in capsys.readouterr().err
    assert check(data, tmp_path / "a.html", "--checkpoint", str(tmp_path / "none")) == 1
    assert "no such file" in capsys.readouterr().err
    assert command.main([*arguments, "--html", str(tmp_path / "a.html")]) == 1
    assert "--html, --model and --checkpoint are options of segtrain check" in capsys.readouterr().err
    assert not (tmp_path / "a.html").exists()


def test_a_page_without_a_network_needs_no_torch(data: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from segtrain.cli.main import main; "
        f"main(['check', {str(data / 'train.json')!r}, {str(data / 'train')!r}, "
        f"'--html', {str(tmp_path / 'a.html')!r}]); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
    assert check_html.__doc__
