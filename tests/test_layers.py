"""The layers of the design and its one door for each library, read from the imports themselves."""

import ast
import graphlib
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Part -> layer; a part is a module or folder of the package, or a script. Imports go to lower layers or stay inside.
LAYERS = {
    "arrays": 0,
    "boxes": 0,
    "console": 0,
    "distributed": 0,
    "errors": 0,
    "io": 0,
    "locks": 0,
    "pool": 0,
    "memory": 0,
    "masks": 0,
    "records": 0,
    "mask_records": 0,
    "score_thresholds": 0,
    "targets": 0,
    "nodes": 0,
    "values": 0,
    "runtime": 0,
    "stopping": 0,
    "visualize": 0,
    "device": 0,
    "memory_guard": 0,
    "data": 1,
    "segmenters": 1,
    "metrics": 1,
    "evaluation": 2,
    "convert": 2,
    "training": 3,
    "benchmark": 4,
    "report": 5,
    "comparison": 6,
    "prediction": 6,
    "export": 6,
    "cli": 7,
    "api": 8,
    "train": 8,
    "evaluate": 8,
}

# Library -> the modules that may import it; a folder allows all its modules.
DOORS = {
    "pycocotools": ["segtrain.masks"],
    "hotcoco": ["segtrain.metrics.average_precision"],
    "albumentations": ["segtrain.data.augmentation"],
    "tensorboard": ["segtrain.training.trackers.tensorboard_tracker"],
    "torch.utils.tensorboard": ["segtrain.training.trackers.tensorboard_tracker"],
    "mlflow": ["segtrain.training.trackers.mlflow_tracker"],
    "wandb": ["segtrain.training.trackers.wandb_tracker"],
    "trackio": ["segtrain.training.trackers.trackio_tracker"],
    "skimage": ["segtrain.segmenters.classical", "segtrain.prediction.found_objects", "segtrain.prediction.geojson"],
    "sklearn": ["segtrain.segmenters.classical.kmeans"],
    "torch.distributed": ["segtrain.distributed", "segtrain.training.parallel"],
    "torchvision": ["segtrain.segmenters.mask_rcnn", "segtrain.data.augmentation", "segtrain.cli.trial"],
    "PIL": [
        "segtrain.data.images",
        "segtrain.data.synthetic",
        "segtrain.training.logger",
        "segtrain.report.gallery",
        "segtrain.report.check_page",
        "segtrain.visualize",
        "segtrain.api",
        "segtrain.convert",
        "segtrain.prediction.predict_files",
        "segtrain.prediction.overlay_video",
        "segtrain.export.onnx_example",
    ],
    "onnxruntime": ["segtrain.export.onnx_example"],
    "fsspec": ["segtrain.data.storage.transfer"],
    "aiohttp": ["segtrain.data.storage.transfer"],
    "tifffile": [
        "segtrain.data.images.pages.tiff_pages",
        "segtrain.prediction.predict_files",
        "segtrain.prediction.large_files",
        "segtrain.prediction.pixel_size",
    ],
    "av": ["segtrain.prediction.videos", "segtrain.prediction.overlay_video"],
    "shapely": ["segtrain.data.check.annotation_checks"],
    "jinja2": ["segtrain.report.html"],
    "psutil": ["segtrain.runtime", "segtrain.memory", "segtrain.data.images.pixel_cache"],
    "optuna": ["segtrain.cli.sweep_study"],
    "hydra": ["segtrain.nodes", "segtrain.cli"],
    "omegaconf": ["segtrain.nodes", "segtrain.cli"],
    "yaml": ["segtrain.nodes", "segtrain.convert.yolo_layout", "segtrain.convert.to_yolo"],
}


@cache
def modules() -> dict[str, str]:
    """Dotted name -> source, of the package and the scripts."""
    files = [*(ROOT / "segtrain").rglob("*.py"), ROOT / "train.py", ROOT / "evaluate.py"]
    names = {file: ".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files}
    return {name.removesuffix(".__init__"): file.read_text() for file, name in names.items()}


@cache
def imports(source: str) -> list[str]:
    """Every dotted name imported anywhere; of ``from a import b`` both a and a.b, since b may be a module."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where they lead"
            assert node.module is not None
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def part(name: str) -> str | None:
    """The part of ours that a dotted name belongs to; None for other libraries and the package's own name."""
    if within(name, "segtrain"):
        return name.split(".")[1] if "." in name else None
    return name if name in ("train", "evaluate") else None


def layer_violations(sources: dict[str, str]) -> list[str]:
    found = []
    for name, source in sources.items():
        if name == "segtrain":  # offers names of all layers, and imports none of them itself
            continue
        here = part(name)
        for there in sorted({part(imported) for imported in imports(source)} - {None, here}, key=str):
            # The bottom layer is one whole: its modules may use each other.
            allowed = here is not None and (LAYERS[there] < LAYERS[here] or LAYERS[there] == LAYERS[here] == 0)
            if not allowed:
                found.append(f"{name} imports {there}")
    return found


def door_violations(library: str, sources: dict[str, str]) -> list[str]:
    return [
        name
        for name, source in sources.items()
        if any(within(imported, library) for imported in imports(source))
        and not any(within(name, door) for door in DOORS[library])
    ]


def test_every_part_has_a_layer() -> None:
    assert {part(name) for name in modules()} - {None} == set(LAYERS)


def test_imports_go_downwards() -> None:
    assert layer_violations(modules()) == []


def test_no_imports_in_a_circle() -> None:
    sources = modules()
    graph = {
        name: {i for i in imports(source) if i in sources and i != name}
        for name, source in sources.items()
        if name != "segtrain"  # loads its names when they are used
    }
    graphlib.TopologicalSorter(graph).prepare()


def package(name: str, sources: dict[str, str]) -> str:
    """The folder that a module lies in; a package lies in itself."""
    return name if any(within(other, name) and other != name for other in sources) else name.rpartition(".")[0]


def package_graph(sources: dict[str, str]) -> dict[str, set[str]]:
    """Package -> packages it imports, its own parts, scripts and the lazy names of segtrain left out."""
    graph: dict[str, set[str]] = {}
    for name, source in sources.items():
        if within(name, "segtrain") and name != "segtrain" and not name.endswith("__main__"):
            used = {package(i, sources) for i in imports(source) if i in sources and i != "segtrain"}
            here = package(name, sources)
            apart = {other for other in used if not within(other, here) and not within(here, other)}
            graph.setdefault(here, set()).update(apart if here != "segtrain" else set())
    return graph


def test_no_packages_in_a_circle() -> None:
    graphlib.TopologicalSorter(package_graph(modules())).prepare()


def test_the_circle_rule_notices() -> None:
    sources = {
        "segtrain": "",
        "segtrain.a": "",
        "segtrain.a.one": "from segtrain.b.two import f",
        "segtrain.b": "",
        "segtrain.b.two": "",
        "segtrain.b.three": "from segtrain.a import one",
    }
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(package_graph(sources)).prepare()


def test_no_two_modules_share_a_name() -> None:
    names = [name.rpartition(".")[2] for name in modules() if within(name, "segtrain") and "__main__" not in name]
    assert sorted(name for name, count in Counter(names).items() if count > 1) == []


@pytest.mark.parametrize("library", DOORS)
def test_one_door_for_each_library(library: str) -> None:
    assert door_violations(library, modules()) == []


@pytest.mark.parametrize("library", DOORS)
def test_every_door_is_used(library: str) -> None:
    users = [name for name, source in modules().items() if any(within(i, library) for i in imports(source))]
    assert users or library == "tensorboard"  # reached through torch.utils.tensorboard


@pytest.mark.parametrize("library", DOORS)
def test_the_page_on_architecture_shows_the_doors(library: str) -> None:
    table = (ROOT / "docs" / "architecture.md").read_text().partition("## Where libraries are imported")[2]
    assert [door for door in DOORS[library] if f"`{door.replace('.', '/')}" not in table] == []


def test_metrics_never_see_a_tensor() -> None:
    """Nor do they see a model or a device."""
    metrics = {name: source for name, source in modules().items() if within(name, "segtrain.metrics")}
    assert metrics
    assert not [
        (n, i) for n, s in metrics.items() for i in imports(s) if within(i, "torch") or within(i, "torchvision")
    ]


def test_no_network_is_known_by_name() -> None:
    """Another one trains, resumes, is loaded and evaluated without an edit: `Trainable` is all that is known of it."""
    parts = ("segtrain.training", "segtrain.evaluation", "segtrain.cli", "segtrain.benchmark", "segtrain.report")
    sources = {name: source for name, source in modules().items() if any(within(name, part) for part in parts)}
    assert sources
    assert not [name for name, source in sources.items() if "mask_rcnn." in " ".join(imports(source))]


def test_segmenters_never_see_coco_files() -> None:
    """Category ids, json and msgspec's records belong to the data layer."""
    segmenters = {name: source for name, source in modules().items() if within(name, "segtrain.segmenters")}
    assert not [name for name, source in segmenters.items() if "json" in imports(source) or "category_id" in source]


def test_an_evaluation_of_classical_methods_loads_no_torchvision() -> None:
    sources = modules()
    loaded, waiting = set[str](), ["segtrain.cli.evaluate"]
    while waiting:
        name = waiting.pop()
        loaded.add(name)
        at_once = [
            node for node in ast.parse(sources.get(name, "")).body if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        waiting += {i for node in at_once for i in imports(ast.unparse(node))} - loaded
    assert "skimage" in loaded
    assert not {name for name in loaded if within(name, "torchvision") or within(name, "albumentations")}


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("segtrain.metrics.f1", "from segtrain.data.coco.index import CocoIndex"),
        ("segtrain.data.coco.index", "from segtrain import metrics"),
        ("segtrain.segmenters.classical.kmeans", "def f():\n    import segtrain.data.coco.index"),
        ("segtrain.masks", "from segtrain.evaluation import predict"),
        ("segtrain.training.trainer", "from segtrain.benchmark.runner import Benchmark"),
        ("segtrain.report.html", "import train"),
        ("train", "import evaluate"),
    ],
)
def test_the_layer_rule_notices(name: str, source: str) -> None:
    assert len(layer_violations({name: source})) == 1


@pytest.mark.parametrize(
    ("library", "source"),
    [
        ("pycocotools", "from pycocotools import mask"),
        ("pycocotools", "def f():\n    import pycocotools.mask as m"),
        ("torch.utils.tensorboard", "from torch.utils import tensorboard"),
        ("hydra", "if True:\n    from hydra.utils import instantiate"),
    ],
)
def test_the_door_rule_notices(library: str, source: str) -> None:
    assert door_violations(library, {"segtrain.data.coco.index": source}) == ["segtrain.data.coco.index"]
    assert door_violations(library, {DOORS[library][0]: source}) == []
