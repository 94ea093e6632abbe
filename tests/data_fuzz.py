"""Data sets that are damaged at random, and what must hold for each of them.

    PYTHONPATH=. python tests/data_fuzz.py FOLDER KIND FIRST COUNT [--times]

examines these seeds, one after the other, and says which one begins, so that a crash is known by its seed.
"""

import faulthandler
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import sysconfig
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import albumentations
import numpy as np
import PIL
import pycocotools.mask
import torch
from file_mutations import OF_FILES, lay_traps, picture
from json_mutations import OF_TEXT, OF_VALUES, Json, dump
from pycocotools.coco import COCO

from segtrain import masks
from segtrain.data import check
from segtrain.data.checked import load_index
from segtrain.data.coco import CocoIndex
from segtrain.data.counts import Counts
from segtrain.data.dataset import Sample, Skipped
from segtrain.data.settings import open_data, training_samples
from segtrain.data.transforms import Augmentation
from segtrain.errors import SegtrainError

ROOT = Path(__file__).parent.parent
REAL = Path(os.environ.get("SEGTRAIN_REAL_DATA", "../shared")) / "data"
SOURCES = {
    "coco": ("coco/annotations/instances_val2017.json", "coco/val2017"),
    "nuclei": ("nuclei/annotations/instances_val.json", "nuclei/images/val"),
}
_MEGABYTES = 700  # that one case may add to the peak
_DRAWN = 2**22  # larger planes are measured, but not drawn


@dataclass(frozen=True)
class Original:
    """A good data set: its json, and its image files by name."""

    document: Json
    files: dict[str, bytes]


@cache
def original(kind: str) -> Original:
    """A small data set: "generated", or a few images of a real one."""
    return _generated() if kind == "generated" else _real(*SOURCES[kind])


def _generated() -> Original:
    files = {
        "a.png": picture((20, 30), "RGB", "PNG"),
        "b.png": picture((24, 16), "L", "PNG"),
        "c.jpg": picture((18, 18), "RGB", "JPEG"),
        "folder/é.png": picture((20, 30), "P", "PNG"),
    }
    sizes = {"a.png": (20, 30), "b.png": (24, 16), "c.jpg": (18, 18), "folder/é.png": (20, 30)}
    images = [
        {"id": number, "file_name": name, "height": sizes[name][0], "width": sizes[name][1]}
        for number, name in enumerate(files, start=1)
    ]
    annotations: list[Json] = []
    for image in images[:3]:
        height, width = image["height"], image["width"]
        plane = np.zeros((height, width), np.uint8)
        plane[3:9, 4:12] = 1
        rle = masks.encode(plane)
        square = [2.0, 2.0, 9.5, 2.0, 9.5, 8.0, 2.0, 8.0]
        counts = masks.counts_of(rle).tolist()
        runs = {"size": [height, width], "counts": counts}
        for crowd, segmentation in (
            (0, [square]),
            (0, [square, [10, 10, 14, 10, 12, 15]]),
            (0, dict(rle)),
            (1, runs),
        ):
            annotations.append({
                "id": len(annotations) + 1, "image_id": image["id"], "category_id": 3 + 4 * (len(annotations) % 2),
                "segmentation": segmentation, "bbox": [2, 2, 10, 7], "area": 48.0, "iscrowd": crowd,
            })  # fmt: skip
    categories = [{"id": 7, "name": "bar"}, {"id": 3, "name": "square"}]
    return Original({"images": images, "annotations": annotations, "categories": categories}, files)


def _real(annotations: str, images: str) -> Original:
    """The smallest images with few objects, and one crowd."""
    whole = json.loads((REAL / annotations).read_text())
    of: dict[int, list[Json]] = {image["id"]: [] for image in whole["images"]}
    for annotation in whole["annotations"]:
        of[annotation["image_id"]].append(annotation)
    small = sorted(whole["images"], key=lambda image: image["height"] * image["width"])
    chosen = [image for image in small if 0 < len(of[image["id"]]) <= 12][:2]
    kept = [annotation for image in chosen for annotation in of[image["id"]]]
    rles = [annotation for annotation in whole["annotations"] if annotation["iscrowd"]][:1]
    if rles:
        chosen.append(next(image for image in whole["images"] if image["id"] == rles[0]["image_id"]))
    files = {image["file_name"]: (REAL / images / image["file_name"]).read_bytes() for image in chosen}
    return Original({**whole, "images": chosen, "annotations": [*kept, *rles]}, files)


DAMAGES: list[tuple[str, Callable[..., Any]]] = [
    *(("values", mutation) for mutation in OF_VALUES),
    *(("text", mutation) for mutation in OF_TEXT),
    *(("files", mutation) for mutation in OF_FILES),
]


def write(source: Original, folder: Path) -> None:
    """Write a data set into a folder, as ``coco.json`` and ``images``."""
    for name, content in source.files.items():
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / "coco.json").write_text(dump(source.document))


def counts_of(folder: Path) -> Counts:
    """What became of the annotations, of which none is an error."""
    return load_index(folder / "coco.json", "strict").counts


def damage(kind: str, seed: int, folder: Path) -> list[str]:
    """Write a damaged data set.

    Returns:
        What was done to it.
    """
    rng, source = random.Random(f"{kind} {seed}"), original(kind)
    write(source, folder)
    chosen = [DAMAGES[seed % len(DAMAGES)]]
    chosen += rng.choices(DAMAGES, k=rng.choice([0, 0, 0, 1, 2, 4]))
    document = json.loads(json.dumps(source.document))
    for stage, mutation in chosen:
        if stage == "values":
            mutation(rng, document)
    text = dump(document).encode("utf-8", "surrogatepass")
    for stage, mutation in chosen:
        if stage == "text":
            text = mutation(rng, text)
    for stage, mutation in chosen:
        path = folder / "images" / rng.choice(list(source.files))
        if stage == "files" and path.is_file() and not path.is_symlink() and path.stat().st_size:
            mutation(rng, path)
    if (folder / "images").is_dir():
        lay_traps(folder / "images")
    (folder / "coco.json").write_bytes(text)
    return [mutation.__name__ for _, mutation in chosen]


class Hang(BaseException):
    """A case that takes too long."""


class _Watch:
    """Notes every file that is opened below, or outside of, where a case may read."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.violations: list[str] = []
        self._always = [
            os.path.realpath(place)
            for place in (
                ROOT, sys.prefix, sys.base_prefix, sysconfig.get_paths()["purelib"], Path(PIL.__file__).parent,
                torch.__path__[0], "/proc/self", "/proc/meminfo", "/dev/null", "/dev/urandom", "/sys/fs/cgroup",
            )
        ]  # fmt: skip

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or self.folder is None or isinstance(arguments[0], int):
            return
        path, _, flags = arguments
        real = Path(os.path.realpath(os.fsdecode(path)))
        waits = real.exists() and not real.is_file() and not real.is_dir()
        if waits and not flags & os.O_NONBLOCK and str(real) not in self._always:
            self.violations.append(f"opened {real}, and would wait for it")
        if not self._is_allowed(str(real)):
            self.violations.append(f"opened {real}")

    def _is_allowed(self, real: str) -> bool:
        folder = os.path.realpath(str(self.folder))
        own = [f"{folder}/{name}" for name in ("coco.json", "images", "good", "fixed.json", "fixed.log")]
        if real.startswith(f"{folder}/.fixed"):  # on its way to be renamed
            return True
        allowed = [*own, os.path.realpath(os.environ["XDG_CACHE_HOME"]), *self._always]
        return any(real == place or real.startswith(f"{place}/") for place in allowed)


_watch: _Watch | None = None


@contextmanager
def guarded(folder: Path, seconds: float = 20.0) -> Iterator[None]:
    """Within, no file outside of the folder is opened, nothing takes long, and warnings are errors."""
    global _watch
    if _watch is None:
        _watch = _Watch()
        sys.addaudithook(_watch)

    def ring(*_: object) -> None:
        raise Hang(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    _watch.folder, _watch.violations = folder, []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # pycocotools 2.0.11 under NumPy 2.
            warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
            yield
    finally:
        _watch.folder = None
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not _watch.violations, _watch.violations


def examine(kind: str, seed: int, folder: Path) -> None:
    """Damage a data set, and use it in every way; raises what must not happen."""
    done = damage(kind, seed, folder)
    try:
        write(original("generated"), folder / "good")
        with guarded(folder):
            for mode in ("strict", "warn", "off"):
                _load(folder, mode)
            for mode, skip in (("strict", False), ("warn", False), ("warn", True), ("off", False), ("off", True)):
                _use(folder, mode, skip)
            _check(folder, as_json=bool(seed % 2))
    except BaseException as error:
        error.add_note(f"{kind} {seed}: {', '.join(done)}")
        raise


def _is_one_line(error: SegtrainError, *names: object) -> None:
    text = str(error)
    assert "\n" not in text, text
    assert len(text) < 5000, text
    assert any(str(name) in text for name in names), text


def _load(folder: Path, mode: Any) -> None:
    path = folder / "coco.json"
    try:
        index = load_index(path, mode)
    except SegtrainError as error:
        _is_one_line(error, path)
        return
    counts = index.counts
    assert counts.used + counts.crowd + counts.dropped == counts.annotations
    assert counts.repaired <= counts.used + counts.crowd
    if mode == "off":
        try:
            _look_at_truths(index, checked=False)
        except SegtrainError as error:
            _is_one_line(error, path)
    else:
        _look_at_truths(index, checked=True)


def _look_at_truths(index: CocoIndex, *, checked: bool) -> None:
    for place, image in enumerate(index.images):
        truths = index.truths(image.id)
        labels, rles = index.objects(place)
        true = [truth for truth in truths if not truth["iscrowd"]]
        assert [truth["segmentation"] for truth in true] == rles
        assert [index.label_of[truth["category_id"]] for truth in true] == labels.tolist()
        for truth in truths:
            rle = truth["segmentation"]
            assert rle["size"] == list(image.size)
            assert truth["area"] > 0
            assert np.isfinite(truth["bbox"]).all()
            assert min(truth["bbox"][2:]) > 0 or not checked
            area = int(masks.area([rle])[0])
            assert area > 0 or not checked
            if image.height * image.width <= _DRAWN:
                plane = pycocotools.mask.decode({**rle, "counts": rle["counts"].encode()})
                assert plane.shape == image.size
                assert int(plane.sum()) == area == int(masks.decode(rle).sum())


def _use(folder: Path, mode: str, skip: bool) -> None:
    """As the scripts do: splits, samples, truths."""
    data = {
        "root": str(folder), "train_annotations": "coco.json", "train_images": "images",
        "val_annotations": "good/coco.json", "val_images": "good/images", "val_fraction": None, "split_by": None,
        "max_dets": 3, "check": mode, "on_bad_image": "skip" if skip else "error", "exif": "auto",
        "max_image_pixels": 200_000_000, "min_object_pixels": 4, "cache": "none", "generator": None,
    }  # fmt: skip
    chain = {"flip": albumentations.HorizontalFlip(p=0.5), "turn": albumentations.Affine(rotate=(-20, 20), p=0.5)}
    try:
        split = open_data(data, ["train"] if mode == "off" else ["train", "val"], 0)["train"]
        dataset = training_samples(split, Augmentation(chain, None), 0, data)
        for position, image in enumerate(split.index.images):
            sample = dataset[0, position]
            if isinstance(sample, Sample):
                assert sample.image.shape[0] == 3
                assert len(sample.target.labels) == len(sample.target.masks) == len(sample.target.boxes)
                assert (sample.target.boxes[:, 2:] > sample.target.boxes[:, :2]).all()
            else:
                assert isinstance(sample, Skipped)
                assert skip
                assert "\n" not in sample.reason
            assert sample.image_id == image.id
    except SegtrainError as error:
        _is_one_line(error, folder)


def _run_check(*arguments: object) -> tuple[int, str]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = check.main([str(argument) for argument in arguments])
    text = out.getvalue() + err.getvalue()
    assert code in (0, 1)
    assert "Traceback" not in text
    assert "\x1b" not in text
    assert err.getvalue().count("\n") <= 1
    assert (not err.getvalue()) or (err.getvalue().startswith("error: ") and code == 1)
    assert len(text) < 200_000
    return code, out.getvalue()


def _check(folder: Path, *, as_json: bool) -> None:
    path, images, fixed = folder / "coco.json", folder / "images", folder / "fixed.json"
    code, out = _run_check(path, images, "--fix", fixed, *(["--json"] if as_json else []))
    if as_json and out:
        report = json.loads(out)
        assert (report["errors"] > 0) == (code == 1) or not fixed.exists()
    if not fixed.exists():
        assert code == 1
        assert not (folder / "fixed.log").exists()
        return
    index = load_index(fixed, "strict")
    assert index.counts.dropped == index.counts.repaired == 0
    with redirect_stdout(io.StringIO()):
        reference = COCO(str(fixed))
    assert sorted(reference.anns) == list(range(1, index.counts.annotations + 1))
    for image in index.images:
        entries = reference.loadAnns(reference.getAnnIds(imgIds=[image.id]))
        truths = index.truths(image.id)
        assert len(truths) == len(entries)
        for truth, entry in zip(truths, entries, strict=True):
            assert all(truth[key] == entry[key] for key in ("category_id", "bbox", "area", "iscrowd"))
            theirs = reference.annToRLE(entry)
            assert int(pycocotools.mask.area(theirs)) == int(masks.area([truth["segmentation"]])[0])
            if image.height * image.width <= _DRAWN:
                assert np.array_equal(masks.decode(truth["segmentation"]), pycocotools.mask.decode(theirs))
    assert _run_check(fixed, images)[0] == 0


def main(arguments: Sequence[str]) -> None:
    """Examine a run of seeds; a native crash or a hang is known by the last seed that was begun."""
    folder, kind, first, count = Path(arguments[0]), arguments[1], int(arguments[2]), int(arguments[3])
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    torch.set_num_threads(1)
    for seed in range(first, first + count):
        print(f"{kind} {seed}", flush=True)
        faulthandler.dump_traceback_later(60, exit=True)  # what holds on to the interpreter gets no signal
        before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
        case = folder / f"{kind}-{seed}"
        examine(kind, seed, case)
        shutil.rmtree(case)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        assert grown < _MEGABYTES, f"{kind} {seed} took {grown:.0f} MB"
        if "--times" in arguments:
            print(f"    {time.perf_counter() - started:.3f} s, {grown:.0f} MB", flush=True)
    faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main(sys.argv[1:])
