"""The check as a command: what it says, how it ends, what it writes, and what it remembers."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from segtrain.console import Heartbeat
from segtrain.data.check import command
from segtrain.data.check import run as check_run
from segtrain.data.check.load import load_index
from segtrain.data.coco.issues import ISSUE_TYPES
from segtrain.io import cache_folder
from tests.helpers.scripts import ROOT, write_data

REAL = Path(os.environ.get("SEGTRAIN_REAL_DATA", "../shared")).absolute() / "data"
needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason="SEGTRAIN_REAL_DATA names no folder with real data")
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two splits; nothing in them is an error, but boxes, areas and iscrowd are missing. No two files are the same."""
    root = write_data(tmp_path / "data")
    for number, path in enumerate(sorted(root.glob("*/*.png"))):
        path.write_bytes(path.read_bytes() + bytes([number]))
    return root


def spoil(data: Path, place: int = 0, split: str = "train", **changes: Any) -> None:
    """Change an annotation."""
    path = data / f"{split}.json"
    content = json.loads(path.read_text())
    content["annotations"][place].update(changes)
    path.write_text(json.dumps(content))


def run(capsys: Capture, *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    code = command.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def report(capsys: Capture, *arguments: object) -> dict[str, Any]:
    code, out, err = run(capsys, *arguments, "--json")
    assert err == ""
    found: dict[str, Any] = json.loads(out)
    assert code == (found["errors"] > 0)
    return found


def counted(found: dict[str, Any]) -> dict[str, int]:
    return {issue["kind"]: issue["count"] for issue in found["findings"]}


def failure(capsys: Capture, *arguments: object) -> str:
    """The one line on stderr of a command that could not look."""
    code, out, err = run(capsys, *arguments)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("error: ")
    return err


def test_the_table(data: Path, capsys: Capture) -> None:
    for place in range(4):
        spoil(data, place, image_id=999)
    (data / "train" / "2.png").write_bytes(b"no image")
    code, out, err = run(capsys, data / "train.json", data / "train")
    assert (code, err) == (1, "")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "severity count issue, and what was or can be done first examples" in lines
    row = next(n for n, line in enumerate(lines) if line.startswith("error 4 "))
    shown = " ".join(lines[row : row + 3])
    assert ISSUE_TYPES["unknown-image"].title in shown
    assert ISSUE_TYPES["unknown-image"].action in shown
    for number in (1, 2, 3):
        assert f"annotation {number} names the unknown image 999" in shown
    assert "annotation 4" not in out
    assert [
        line for line in lines if line.startswith(f"error 1 {ISSUE_TYPES['image-unreadable'].title} 2.png (image 2): ")
    ]
    severities = [line.split()[0] for line in lines if line.startswith(("error ", "warning ", "note "))]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)
    assert set(severities) == {"error", "warning", "note"}
    counted = "5 images, 12 annotations = 8 used + 0 crowd + 4 left out; 8 repaired; 1 of the images cannot be used"
    assert f"{data / 'train.json'}: {counted}" in lines
    assert lines[-1] == "5 errors"
    square, bar = (next(line.split() for line in lines if line.startswith(name)) for name in ("square 3 ", "bar 7 "))
    assert [square[2:4], bar[2:4]] == [["5", "3"], ["3", "3"]]
    assert (square[4], len(bar[4])) == ("█" * 30, 18)


def test_nothing_to_say(tmp_path: Path, capsys: Capture) -> None:
    data = write_data(tmp_path / "data", images=13)
    for number, path in enumerate((data / "train").iterdir()):
        path.write_bytes(path.read_bytes() + bytes([number]))
    content = json.loads((data / "train.json").read_text())
    for annotation in content["annotations"]:
        x0, y0, x1, _, _, y1 = annotation["segmentation"][0][:6]
        annotation.update(bbox=[x0, y0, x1 - x0, y1 - y0], area=(x1 - x0) * (y1 - y0) - 8, iscrowd=0)
        annotation["segmentation"] = [[x0, y0, x1, y0, x1, y1 - 4, x1 - 4, y1, x0, y1]]  # no rectangle
    for annotation in content["annotations"]:
        annotation["category_id"] = {3: 1, 7: 2}[annotation["category_id"]]
    content["categories"] = [{"id": 1, "name": "square"}, {"id": 2, "name": "bar"}]
    content["images"] = content["images"][:12]
    (data / "train.json").write_text(json.dumps(content))
    code, out, err = run(capsys, data / "train.json", data / "train")
    assert (code, err) == (0, "")
    assert out.startswith("nothing found\n")
    assert out.endswith("\n0 errors\n")


def test_json(data: Path, capsys: Capture) -> None:
    spoil(data, segmentation=[[1, 2, 3]])
    found = report(capsys, data / "train.json", data / "train")
    assert list(found) == [
        "annotations", "images", "errors", "findings", "counts", "formats", "categories", "intensity",
    ]  # fmt: skip
    assert (found["annotations"], found["images"]) == (str(data / "train.json"), str(data / "train"))
    assert found["errors"] == 1
    by_kind = {issue["kind"]: issue for issue in found["findings"]}
    assert by_kind["mask-lost"] == {
        "kind": "mask-lost",
        "severity": "error",
        "finding": ISSUE_TYPES["mask-lost"].title,
        "count": 1,
        "examples": ["1.png, annotation 1: a polygon has 3 numbers, and needs an even count"],
        "action": ISSUE_TYPES["mask-lost"].action,
    }
    assert len(by_kind["box-missing"]["examples"]) == 3
    assert by_kind["box-missing"]["count"] == 11
    assert found["counts"] == {
        "images": 5, "annotations": 12, "used": 11, "crowd": 0, "repaired": 11, "dropped": 1,
    }  # fmt: skip
    assert found["categories"] == [
        {"id": 3, "name": "square", "objects": 7, "images": 4},
        {"id": 7, "name": "bar", "objects": 4, "images": 4},
    ]


def test_progress_goes_to_stderr(data: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the clock takes half a minute."""
    clock = itertools.count(step=30)
    monkeypatch.setattr(command, "Heartbeat", partial(Heartbeat, clock=lambda: float(next(clock))))
    code, out, err = run(capsys, data / "train.json", data / "train", "--json")
    assert (code, json.loads(out)["errors"]) == (0, 0)
    assert [line.rpartition(",")[0] for line in err.splitlines()] == [
        f"{stage}: {number} of 5" for stage in ("image headers", "images") for number in range(1, 6)
    ]


def test_options_decide_what_is_found(data: Path, capsys: Capture) -> None:
    arguments = (data / "train.json", data / "train")
    assert "over-max-dets" not in counted(report(capsys, *arguments))
    assert counted(report(capsys, *arguments, "--max-dets", 2))["over-max-dets"] == 4
    assert counted(report(capsys, *arguments, "--max-image-pixels", 2303))["image-too-large"] == 5
    assert counted(report(capsys, *arguments, "--max-image-pixels", 2304)).keys().isdisjoint({"image-too-large"})


def test_defaults_are_those_of_the_configuration() -> None:
    from omegaconf import OmegaConf

    options = command._parser().parse_args(["a.json", "images"])
    settings = OmegaConf.load(ROOT / "configs" / "data" / "coco.yaml")
    assert (options.exif, options.pages, options.channels, command._MAX_DETS, options.max_image_pixels) == (
        settings.exif, settings.pages, settings.channels, settings.max_dets, settings.max_image_pixels,
    )  # fmt: skip
    assert options.max_dets is None  # then that of --model, if it is given


def test_fix(data: Path, capsys: Capture) -> None:
    spoil(data, segmentation=[[1, 2, 3]])
    (data / "train" / "2.png").unlink()
    before = (data / "train.json").read_bytes()
    out = data / "new" / "fixed.json"
    code, text, _ = run(capsys, data / "train.json", data / "train", "--fix", out)
    assert code == 1
    said = text.splitlines()[-1]
    assert said == (
        f"Written: {out}, with 8 of 12 annotations and 4 of 5 images; the others are left out "
        f"(why: {out.with_suffix('.log')})"
    )
    assert (data / "train.json").read_bytes() == before
    log = out.with_suffix(".log").read_text()
    assert "image 2 is left out: " in log
    assert "annotation 1 (entry 1) is left out: a polygon has 3 numbers" in log
    found = report(capsys, out, data / "train")
    assert (found["errors"], found["counts"]["used"], found["counts"]["repaired"]) == (0, 8, 0)
    assert not [issue for issue in found["findings"] if issue["severity"] == "warning"]


@pytest.mark.parametrize("existing", ["fixed.json", "fixed.log"])
def test_fix_replaces_nothing(existing: str, data: Path, capsys: Capture) -> None:
    (data / existing).write_text("mine")
    code, _, err = run(capsys, data / "train.json", data / "train", "--fix", data / "fixed.json")
    assert code == 1
    assert f"{data / existing}: exists already" in err
    assert (data / existing).read_text() == "mine"
    assert len(list(data.glob("fixed.*"))) == 1
    code, _, err = run(capsys, data / "train.json", data / "train", "--fix", data / "train.json")
    assert (code, "train.json: exists already" in err) == (1, True)


def test_a_file_that_cannot_be_used_is_one_finding(data: Path, capsys: Capture) -> None:
    (data / "train.json").write_text("{")
    found = report(capsys, data / "train.json", data / "train", "--fix", data / "fixed.json")
    assert (counted(found), found["counts"], found["categories"]) == ({"not-json": 1}, {}, [])
    assert not (data / "fixed.json").exists()
    code, out, err = run(capsys, data / "train.json", data / "train")
    assert (code, err) == (1, "")
    assert ISSUE_TYPES["not-json"].title in out
    for path in (data / "none.json", data):
        assert counted(report(capsys, path, data / "train")) == {"file-unreadable": 1}


def test_without_images(data: Path, capsys: Capture) -> None:
    err = failure(capsys, data / "train.json", data / "no")
    assert f"{data / 'no'}: no such image folder" in err
    assert "no such image folder" in failure(capsys, data / "train.json", data / "train.json")
    (data / "empty").mkdir()
    assert counted(report(capsys, data / "train.json", data / "empty"))["image-missing"] == 5


def test_wrong_arguments_are_one_line(capsys: Capture) -> None:
    for arguments in ([], ["a.json"], ["a.json", "b", "--exif", "maybe"], ["a.json", "b", "--max-dets", "0"]):
        assert command.main(arguments) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert line.endswith("; see segtrain check --help")


def leak(data: Path) -> None:
    shutil.copy(data / "train" / "3.png", data / "val" / "102.png")


def test_against(data: Path, capsys: Capture) -> None:
    both = (data / "train.json", data / "train", "--against", data / "val.json")
    assert "leak" not in counted(report(capsys, *both))
    leak(data)
    found = {issue["kind"]: issue for issue in report(capsys, *both)["findings"]}
    assert found["leak"]["count"] == 1
    assert found["leak"]["severity"] == "note"
    assert "val/102.png (image 102) in validation: identical to train/3.png (image 3)" in found["leak"]["examples"][0]
    (data / "val").rename(data / "elsewhere")
    assert counted(report(capsys, *both))["leak"] == 1
    (data / "elsewhere").rename(data.parent / "far")
    assert "val.json: its images are neither in" in failure(capsys, *both)
    assert counted(report(capsys, *both, "--against-images", data.parent / "far"))["leak"] == 1


def test_images_of_both_in_one_folder(data: Path, capsys: Capture) -> None:
    leak(data)
    for path in (data / "val").iterdir():
        shutil.copy(path, data / "train")
    shutil.rmtree(data / "val")
    found = report(capsys, data / "train.json", data / "train", "--against", data / "val.json")
    assert "train/102.png (image 102) in validation" in json.dumps(found)


def test_names_that_say_nothing_need_a_folder(data: Path, capsys: Capture) -> None:
    """1.png, 2.png, ... in both folders: taking the one for the other would make every image a leak."""
    content = json.loads((data / "val.json").read_text())
    for entry in content["images"]:
        (data / "val" / entry["file_name"]).rename(data / "val" / f"{entry['id'] - 100}.png")
        entry["file_name"] = f"{entry['id'] - 100}.png"
    (data / "val.json").write_text(json.dumps(content))
    both = (data / "train.json", data / "train", "--against", data / "val.json")
    err = failure(capsys, *both)
    assert "val.json: its images may lie in" in err
    assert "give --against-images" in err
    assert "leak" not in counted(report(capsys, *both, "--against-images", data / "val"))
    assert counted(report(capsys, *both, "--against-images", data / "train"))["leak"] == 5


def test_a_missing_image_does_not_hide_the_folder(data: Path, capsys: Capture) -> None:
    leak(data)
    (data / "val" / "101.png").unlink()
    content = json.loads((data / "val.json").read_text())
    for place, name in ((0, "/etc/hostname"), (2, "x" * 300)):
        content["images"][place]["file_name"] = name
    (data / "val.json").write_text(json.dumps(content))
    found = report(capsys, data / "train.json", data / "train", "--against", data / "val.json")
    assert "val/102.png (image 102) in validation" in json.dumps(found)


def test_a_bad_other_file_is_an_error(data: Path, capsys: Capture) -> None:
    (data / "val.json").write_text("{")
    err = failure(capsys, data / "train.json", data / "train", "--against", data / "val.json")
    assert f"{data / 'val.json'}: not a json file" in err
    err = failure(capsys, data / "train.json", data / "train", "--against", data / "no.json")
    assert "no.json: cannot read the annotations" in err


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows with each look at the images."""
    made: list[str] = []

    def look(*arguments: Any) -> check_run.CheckReport:
        made.append("look")
        return original(*arguments)

    original = check_run._look
    monkeypatch.setattr(check_run, "_look", look)
    return made


def touch(path: Path) -> None:
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def test_the_second_look_is_free(
    data: Path, capsys: Capture, looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [data / "train.json", data / "train"]
    first = report(capsys, *arguments)
    assert len(looks) == 1
    with monkeypatch.context() as patch:
        patch.setattr("segtrain.data.check.load.AnnotationChecks", None)  # must not be asked again
        assert report(capsys, *arguments) == first
    assert len(looks) == 1
    changes: list[tuple[str, Any]] = [
        ("an image", lambda: touch(data / "train" / "2.png")),
        ("the json", lambda: touch(data / "train.json")),
        ("an image is gone", lambda: (data / "train" / "3.png").unlink()),
        ("an option", lambda: arguments.extend(["--max-dets", 7])),
        ("another option", lambda: arguments.extend(["--exif", "ignore"])),
        ("the limit", lambda: arguments.extend(["--max-image-pixels", 10**6])),
        ("the other json", lambda: arguments.extend(["--against", data / "val.json"])),
        ("an image of the other", lambda: touch(data / "val" / "102.png")),
        ("the other json again", lambda: touch(data / "val.json")),
    ]
    for number, (what, change) in enumerate(changes, start=2):
        change()
        report(capsys, *arguments)
        assert len(looks) == number, what
        report(capsys, *arguments)
        assert len(looks) == number, what
    assert counted(report(capsys, *arguments))["image-missing"] == 1


def test_a_broken_cache_is_no_obstacle(data: Path, capsys: Capture, looks: list[str]) -> None:
    first = report(capsys, data / "train.json", data / "train")
    for path in (cache_folder() / "checks").iterdir():
        path.write_bytes(b"\x93garbage")
    assert report(capsys, data / "train.json", data / "train") == first
    assert len(looks) == 2
    for path in (cache_folder() / "checks").iterdir():
        path.write_bytes(b"")
    assert report(capsys, data / "train.json", data / "train") == first
    assert report(capsys, data / "train.json", data / "train") == first
    assert len(looks) == 3


def test_a_cache_that_cannot_be_written_is_no_obstacle(
    data: Path, capsys: Capture, looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = report(capsys, data / "train.json", data / "train")
    (data / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(data / "file"))
    for number in (2, 3):
        assert report(capsys, data / "train.json", data / "train") == first
        assert len(looks) == number


def test_relative_paths_from_anywhere(
    data: Path, capsys: Capture, looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data)
    assert counted(report(capsys, "train.json", "train"))["box-missing"] == 12
    monkeypatch.chdir(data / "train")
    assert counted(report(capsys, "../train.json", "."))["box-missing"] == 12
    # The same words in another place are another question.
    other = write_data(data.parent / "other")
    spoil(other, bbox=[4, 5, 12, 12])
    monkeypatch.chdir(other)
    assert counted(report(capsys, "train.json", "train"))["box-missing"] == 11


@pytest.mark.parametrize("name", ["a\nb.png", "a\tb\x1b[31m.png", "\x07.png", "\u202egnp.exe"])
def test_odd_file_names_stay_in_their_line(name: str, data: Path, capsys: Capture) -> None:
    (data / "train" / "1.png").rename(data / "train" / name)
    content = json.loads((data / "train.json").read_text())
    content["images"][0]["file_name"] = name
    (data / "train.json").write_text(json.dumps(content))
    found = report(capsys, data / "train.json", data / "train")
    examples = [example for issue in found["findings"] for example in issue["examples"]]
    assert [example for example in examples if repr(name) in example]
    assert all(example.isprintable() for example in examples)
    code, out, _ = run(capsys, data / "train.json", data / "train")
    assert code == 0
    assert all(line.isprintable() for line in out.split("\n"))


def test_it_starts_without_torch(data: Path) -> None:
    """Torch takes seconds to import; so do OpenCV, SciPy and what else training needs."""
    program = (
        "import sys; from segtrain.data.check.command import main; code = main(sys.argv[1:]); "
        "heavy = {'torch', 'cv2', 'scipy', 'albumentations', 'torchvision', 'hydra', 'skimage', 'sklearn'}; "
        "print(sorted(heavy & set(sys.modules)), code)"
    )
    arguments = [str(data / "train.json"), str(data / "train"), "--json", "--against", str(data / "val.json")]
    finished = subprocess.run([sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert finished.stderr == ""
    assert finished.stdout.splitlines()[-1] == "[] 0"


def test_as_a_person_types_it(data: Path) -> None:
    spoil(data, image_id=999)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "segtrain.data.check", "train.json", "train"]
    finished = subprocess.run(command, cwd=data, env=environment, capture_output=True, text=True)
    assert (finished.returncode, finished.stderr) == (1, "")
    assert "annotation 1 names the unknown image 999" in finished.stdout
    finished = subprocess.run([*command[:-1], "no"], cwd=data, env=environment, capture_output=True, text=True)
    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr == "error: no: no such image folder; give the folder of the images\n"


@needs_real_data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "annotations", "images", "counts"),
    [
        ("coco", "annotations/instances_train2017.json", "train2017", (92, 829, 820, 9, 0, 0)),
        ("coco", "annotations/instances_val2017.json", "val2017", (66, 560, 552, 8, 0, 0)),
        ("nuclei", "annotations/instances_train.json", "images/train", (441, 18305, 18305, 0, 0, 0)),
        ("nuclei", "annotations/instances_val.json", "images/val", (100, 3814, 3814, 0, 0, 0)),
        ("nasty/coco_mini/coco_instances", "annotations/instances_val.json", "images/val", (1, 2, 1, 1, 0, 0)),
    ],
)
def test_real_data_is_clean(
    folder: str, annotations: str, images: str, counts: tuple[int, ...], tmp_path: Path, capsys: Capture
) -> None:
    path, fixed = REAL / folder / annotations, tmp_path / "fixed.json"
    found = report(capsys, path, REAL / folder / images, "--fix", fixed)
    assert found["errors"] == 0
    assert tuple(found["counts"].values()) == counts
    assert found["counts"] == asdict(load_index(path).counts)
    again = report(capsys, fixed, REAL / folder / images)["counts"]
    left = counts[1] - counts[5]
    assert tuple(again.values()) == (counts[0], left, counts[2], counts[3], 0, 0)


@needs_real_data
@pytest.mark.slow
def test_a_real_file_whose_only_object_is_a_box(tmp_path: Path, capsys: Capture) -> None:
    folder = REAL / "nasty" / "coco_mini" / "coco_instances"
    arguments = [folder / "annotations" / "instances_train.json", folder / "images" / "train"]
    found = report(capsys, *arguments)
    assert found["errors"] == 1
    assert counted(found)["box-without-mask"] == 1
    fixed = tmp_path / "fixed.json"
    assert "none of its 1 annotation can be used" in run(capsys, *arguments, "--fix", fixed)[2]
    assert not fixed.exists()
    assert report(capsys, *arguments, "--boxes-without-masks", "box")["errors"] == 0


@needs_real_data
def test_the_evaluators_own_reference_is_clean() -> None:
    index = load_index(REAL / "evaluator_reference" / "ground_truth.json")
    assert tuple(asdict(index.counts).values()) == (100, 839, 830, 9, 0, 0)
    assert [issue.kind for issue in index.issues] == ["id-beyond-int32", "id-gaps", "polygon-self-intersecting"]


@needs_real_data
@pytest.mark.slow
@pytest.mark.parametrize("name", ["coco", "nuclei"])
def test_real_splits_share_no_image(name: str, capsys: Capture) -> None:
    train, val = {"coco": ("train2017", "val2017"), "nuclei": ("train", "val")}[name]
    folder, images = REAL / name / "annotations", REAL / name / {"coco": ".", "nuclei": "images"}[name]
    arguments = [folder / f"instances_{train}.json", images / train, "--against", folder / f"instances_{val}.json"]
    assert "leak" not in counted(report(capsys, *arguments))


def test_without_shapely_the_note_on_crossings_is_left_out_and_that_is_said(
    data: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = json.loads((data / "train.json").read_text())
    content["annotations"][0]["segmentation"] = [[1, 1, 9, 9, 9, 1, 1, 9]]
    (data / "train.json").write_text(json.dumps(content))
    assert "crosses or touches itself" in run(capsys, data / "train.json", data / "train")[1]
    for module in ("annotation_checks", "command", "load", "run"):
        monkeypatch.setattr(f"segtrain.data.check.{module}.FINDS_CROSSINGS", False)
    text = run(capsys, data / "train.json", data / "train")[1]
    assert "crosses or touches itself" not in text
    assert "pip install shapely" in text
