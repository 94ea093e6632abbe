"""Runner of the two scripts in tests, with a small data set and a small network, in the process of the tests."""

import io
import json
import logging
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from PIL import Image

from segtrain.cli.command_line import Command
from segtrain.cli.launch import launch, load_task

ROOT = Path(__file__).parents[2]
CATEGORIES = [{"id": 3, "name": "square"}, {"id": 7, "name": "bar"}]
SMALL_NETWORK = [
    "segmenter=mask_rcnn_mobilenet_v2_fpn",
    "segmenter.fpn_channels=8",
    "segmenter.box_head_width=16",
    "segmenter.mask_head_widths=[8]",
    "segmenter.scale=1",
    "segmenter.rois_per_image=16",
    "segmenter.rpn_proposals_train=40",
    "segmenter.rpn_proposals_test=40",
]
SHORT_RUN = [
    "trainer.batch_size=2",
    "trainer.workers=0",
    "trainer.max_minutes=null",
    "trainer.max_steps=2",
    "trainer.log_every=1",
    "trainer.validation_images=1",
    "trainer.validation_losses=false",
    "trainer.forecast=false",
    "threads=1",
    "trainer.precision=fp32",
    "score_threshold=0.5",
]
SMALL = ["data=coco", *SMALL_NETWORK, *SHORT_RUN]
WHOLE_RUN = ["trainer.validation_losses=true", "trainer.forecast=true"]  # as by default, which takes longer


@dataclass
class Finished:
    """Outcome of a script."""

    code: int
    out: str
    err: str
    result: float | None = None


def run(script: str, *overrides: str, folder: Path) -> Finished:
    """Run ``train`` or ``evaluate`` in this process, in a given folder."""
    results: list[float | None] = []

    def task(config: dict[str, Any], output_dir: Path, command: Command) -> float | None:
        results.append(load_task(script)(config, output_dir, command))
        return results[-1]

    out, err, code = io.StringIO(), io.StringIO(), 0
    root = logging.getLogger()
    handlers, level, threads = root.handlers[:], root.level, torch.get_num_threads()
    GlobalHydra.instance().clear()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(folder)
        patch.setenv("HYDRA_FULL_ERROR", "0")
        patch.setattr(torch.cuda, "is_available", lambda: False)  # device=auto: the same numbers on every machine
        patch.setattr(sys, "argv", sys.argv)  # Hydra reads it
        patch.setattr(Hydra, "get_mode", _mode)  # Hydra composes the whole configuration for it
        patch.setattr("segtrain.cli.launch.load_task", lambda name: task)
        try:
            launch(script, ("python", f"{script}.py"), overrides)
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        finally:
            for handler in set(root.handlers) - set(handlers):
                handler.close()
            root.handlers, root.level = handlers, level
            logging.captureWarnings(False)
            torch.set_num_threads(threads)
    return Finished(code, out.getvalue(), err.getvalue(), results[-1] if results else None)


def _mode(self: Hydra, config_name: str | None, overrides: list[str]) -> RunMode | None:
    """Return the mode that overrides choose, which no YAML file does."""
    modes = [o.value() for o in OverridesParser.create().parse_overrides(overrides) if o.key_or_group == "hydra.mode"]
    return RunMode[modes[-1]] if modes else None


def message(finished: Finished) -> str:
    """Return the single line that a failed script writes to stderr."""
    lines = finished.err.splitlines()
    assert finished.code == 1, finished
    assert len(lines) == 1, finished.err
    assert lines[0].startswith("error: ")
    return lines[0]


def polygon(x: float, y: float, width: float, height: float) -> list[list[float]]:
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def coco(images: int, first_id: int = 1) -> dict[str, Any]:
    """Build annotations of squares and bars in images of 48x48; one crowd, one image without annotations."""
    records: dict[str, Any] = {"images": [], "annotations": [], "categories": CATEGORIES}
    for number in range(first_id, first_id + images):
        records["images"].append({"id": number, "file_name": f"{number}.png", "height": 48, "width": 48})
        if number == first_id + images - 1:
            continue
        shift = number % 5
        shapes = [(3, polygon(4 + shift, 5, 12, 12)), (7, polygon(3, 26 + shift, 30, 7)), (3, polygon(28, 6, 14, 14))]
        for category, segmentation in shapes:
            identifier = len(records["annotations"]) + 1
            records["annotations"].append(
                {"id": identifier, "image_id": number, "category_id": category, "segmentation": segmentation}
            )
    return records


def write_data(root: Path, images: int = 5) -> Path:
    """Write a COCO folder: ``train.json``, ``val.json``, and their images in folders of the same names."""
    for split, first in (("train", 1), ("val", 101)):
        records = coco(images, first)
        folder = root / split
        folder.mkdir(parents=True)
        for image in records["images"]:
            pixels = np.full((48, 48, 3), 40, np.uint8)
            for annotation in records["annotations"]:
                if annotation["image_id"] == image["id"]:
                    x0, y0, x1, _, _, y1 = annotation["segmentation"][0][:6]
                    pixels[round(y0) : round(y1), round(x0) : round(x1)] = 200
            Image.fromarray(pixels).save(folder / image["file_name"])
        (root / f"{split}.json").write_text(json.dumps(records))
    return root


def data_of(root: Path) -> list[str]:
    """List the overrides that name such a folder."""
    return [
        "data=coco",
        f"data.root={root}",
        "data.train_annotations=train.json",
        "data.train_images=train",
        "data.val_annotations=val.json",
        "data.val_images=val",
    ]
