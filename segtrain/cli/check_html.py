"""Page of ``segtrain check --html``: the first images, read by the settings of the check or of a network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segtrain.data.check.command import CheckedSet
from segtrain.data.check.run import CheckReport, CheckSettings, settled_reader
from segtrain.data.coco.index import CocoIndex
from segtrain.data.images.image_reader import ImageReader
from segtrain.data.images.intensities.intensity import Intensity
from segtrain.data.images.large_image import read_picture
from segtrain.errors import SegtrainError
from segtrain.io import printable, without_controls, write_atomically
from segtrain.values import IntensitySetting

if TYPE_CHECKING:
    from segtrain.report.check_page import SheetImage
    from segtrain.segmenters import Trainable

# What draws, and torch, are imported when a page is written: a check without one starts faster.
_SELECTED = 8  # images with the most, and with the smallest objects
_MARK = b'content="segtrain check"'  # of pages that may be replaced


@dataclass(frozen=True)
class NetworkInput:
    """Reading and resizing of images for a network.

    Attributes:
        name: name of the network, for the page.
        settings: settings of the check, with the network's settings of reading images in place of its own.
        network: the network.
        max_dets: detections per image, or window, that it returns.
        augmentation: configuration of the augmentation with which it is to be trained; None if it was trained already,
            since a checkpoint may name any code.
    """

    name: str
    settings: CheckSettings
    network: "Trainable"
    max_dets: int
    augmentation: Any = None


def require_writable(path: Path) -> None:
    """Check that the page would replace no file or folder but an earlier page.

    Raises:
        SegtrainError: the path is another file, or a folder.
    """
    if path.is_dir() or (path.is_file() and _MARK not in path.read_bytes()[:1000]):
        raise SegtrainError(f"{path}: exists already, and is no page of segtrain check; choose another name")


def write_page(path: Path, checked: CheckedSet, network: NetworkInput | None, advice: Mapping[str, Any] | None) -> None:
    """Write the page of a check.

    Args:
        path: path of the page.
        checked: data set and the result of its check.
        network: network whose input the images show; None for none.
        advice: comparison of the data with it, see `advise`; None without one.
    """
    from segtrain.report.check_page import SheetImage, check_page
    from segtrain.report.data_figures import DataFigures

    settings, report, index = checked.settings, checked.report, checked.index
    sheets, figures = dict[str, list[SheetImage]](), None
    if index is not None:
        seen = settings if network is None else network.settings
        reader = settled_reader(seen, index)
        sheets = {name: _pictures(index, places, network, reader) for name, places in _sheets(report, index).items()}
        figures = DataFigures.of(index)
    counts = report.counts
    summary = printable(settings.annotations)
    if counts:
        errors = f"{report.errors:,} error{'s' * (report.errors != 1)}"
        summary += f": {counts['images']:,} images, {counts['annotations']:,} annotations, {errors}"
    title = printable(settings.annotations.name)
    page = check_page(report, title, summary, sheets, "" if network is None else network.name, figures, advice)
    write_atomically(path, without_controls(page))


def advise(checked: CheckedSet, network: NetworkInput) -> dict[str, Any]:
    """Compare the data with a network: numbers by name, and ``lines`` that say what is to be done.

    Args:
        checked: data set and the result of its check; at least one image can be used.
        network: network that is to be trained, or was trained, on such data.
    """
    from segtrain.data.dataset import CocoDataset
    from segtrain.nodes import build
    from segtrain.training.advice import advise as compare
    from segtrain.training.summary import drawn_sizes, known_inputs

    index, segmenter = checked.index, network.network
    assert index is not None
    drawn = None
    if network.augmentation is not None and len(index.images):
        reader = settled_reader(network.settings, index)
        dataset = CocoDataset(index, reader, build(network.augmentation), seed=0, on_bad_image="skip")
        drawn = partial(drawn_sizes, dataset)
        segmenter.inputs = known_inputs(segmenter, dataset)
    return {"model": network.name} | compare(index, segmenter, network.max_dets, drawn).to_plain()


def open_network(settings: CheckSettings, checkpoint: Path | None, experiment: str | None) -> NetworkInput | None:
    """Build the network that the options name.

    Args:
        settings: settings of the check.
        checkpoint: a run's folder or a checkpoint; None for none.
        experiment: name of an experiment; None for none.

    Returns:
        None without one.

    Raises:
        SegtrainError: there is no such checkpoint or experiment.
    """
    if checkpoint is not None:
        return _of_checkpoint(settings, checkpoint)
    return None if experiment is None else _of_experiment(settings, experiment)


def _sheets(report: CheckReport, index: CocoIndex) -> dict[str, list[int]]:
    """Choose the images of each contact sheet; a set of few images is shown whole, in the first one."""
    from segtrain.report.check_page import SHEET

    usable = np.array(
        [place for place, image in enumerate(index.images) if image.id not in report.lost_images], np.int64
    )
    sheets = {"First images": usable[:SHEET].tolist()}
    if len(usable) > SHEET:
        rows = index.annotations.rows
        rows = rows[rows["usable"] & ~rows["crowd"] & (rows["area"] > 0)]
        smallest = np.full(len(index.images), np.inf)
        np.minimum.at(smallest, rows["image"], rows["area"])
        crowded = usable[np.argsort(-index.objects_per_image[usable], kind="stable")]
        small = usable[np.argsort(smallest[usable], kind="stable")]
        sheets["Most objects"] = crowded[:_SELECTED].tolist()
        sheets["Smallest objects"] = small[:_SELECTED].tolist()
    return sheets


def _pictures(
    index: CocoIndex, places: Sequence[int], network: NetworkInput | None, reader: ImageReader
) -> "list[SheetImage]":
    """Read the images of a contact sheet."""
    from segtrain.report.check_page import SheetImage

    pictures: list[SheetImage] = []
    for place in places:
        image = index.images[place]
        pixels, objects = read_picture(reader, image, index.objects(place)[1])
        input_size = None
        if network is not None:
            scale = network.network.input_scale(image.height, image.width)
            input_size = max(1, int(image.height * scale)), max(1, int(image.width * scale))
        pictures.append(SheetImage(printable(image.file_name), pixels, image.size, input_size, objects))
    return pictures


def _of_checkpoint(settings: CheckSettings, path: Path) -> NetworkInput:
    from segtrain.training.checkpoint import load_checkpoint, restore_segmenter
    from segtrain.training.checkpoint_paths import checkpoint_file

    file = checkpoint_file(path)
    checkpoint = load_checkpoint(file)
    segmenter = restore_segmenter(checkpoint, str(file))
    intensity = Intensity.from_plain(checkpoint.intensity)
    if intensity.others is None:  # files of types that the training did not have
        intensity = replace(intensity, others="full")
    adapted = _with_settings(settings, checkpoint.config["data"], intensity)
    return NetworkInput(f"the network of {printable(file)}", adapted, segmenter, checkpoint.max_dets)


def _of_experiment(settings: CheckSettings, name: str) -> NetworkInput:
    from segtrain.cli.launch import compose_runs
    from segtrain.training.checkpoint import build_trainable

    (config,) = compose_runs("train", [f"experiment={name}"])
    segmenter = build_trainable(config["segmenter"], ["object"], initialise=False)
    data = config["data"]
    return NetworkInput(
        f"the network of experiment={name}",
        _with_settings(settings, data, data["intensity"]),
        segmenter,
        data["max_dets"],
        config["augmentation"],
    )


def _with_settings(
    settings: CheckSettings, data: Mapping[str, Any], intensity: IntensitySetting | Intensity
) -> CheckSettings:
    """Return the settings of a check with those by which a network's images are read."""
    channels = data["channels"]
    return replace(
        settings,
        exif=data["exif"],
        pages=data["pages"],
        channels=None if channels is None else tuple(channels),
        intensity=intensity,
    )
