"""Every option composes and binds, nothing is said twice, and the command line is checked as a whole."""

import re
import sys
from collections.abc import Iterator
from inspect import Parameter, signature
from pathlib import Path
from typing import get_type_hints

import hydra
import pytest
import yaml
from hydra.utils import get_object
from omegaconf import OmegaConf

from segtrain.cli.config import Data, Evaluate, Train, check_values, find_problems, register_schemas
from segtrain.cli.help import read_comments
from segtrain.cli.launch import compose_runs
from segtrain.cli.optuna_sweeper import space_of
from segtrain.errors import SegtrainError
from segtrain.nodes import build, check_targets, import_beside_options, target_nodes
from segtrain.training.settings import TrainSettings
from tests.helpers.scripts import ROOT, Finished, message, run

CONFIGS = ROOT / "configs"
FILES = sorted(CONFIGS.rglob("*.yaml"))
OPTIONS = [(path.parent.name, path.stem) for path in FILES if path.parents[1] == CONFIGS]
NETWORKS = [name for group, name in OPTIONS if group == "segmenter" and name.startswith("mask_rcnn")]


def compose(root: str, *overrides: str) -> dict:
    register_schemas()
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = hydra.compose(root, list(overrides))
    return OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)


def overrides_of(group: str, name: str) -> list[tuple[str, list[str]]]:
    """The scripts that take an option, and how."""
    if group == "segmenter" and name not in NETWORKS:
        return [("evaluate", ["methods=none", f"+segmenter@segmenters.row={name}"])]
    if group == "methods" or (group, name) == ("data", "checkpoint"):
        return [("evaluate", [f"{group}={name}"])]
    return [(root, [f"{group}={name}"]) for root in (("train", "evaluate") if group == "data" else ("train",))]


@pytest.mark.few(12)
@pytest.mark.parametrize(
    ("root", "overrides"), [pair for group, name in OPTIONS for pair in overrides_of(group, name)], ids=str
)
def test_every_option_composes_and_binds(root: str, overrides: list[str]) -> None:
    config = compose(root, *overrides)
    assert find_problems(config) == []
    group = overrides[0].partition("=")[0]
    if group in ("augmentation", "schedule", "trainer", "optimizer"):
        build(config[group])


@pytest.mark.few(4)
@pytest.mark.parametrize("experiment", [name for group, name in OPTIONS if group == "experiment"])
@pytest.mark.parametrize("network", NETWORKS)
def test_experiments_take_every_network(experiment: str, network: str) -> None:
    config = compose("train", f"experiment={experiment}", f"segmenter={network}")
    assert find_problems(config) == []
    assert config["segmenter"]["detections_per_image"] == config["data"]["max_dets"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_every_file_says_how_to_run_it(path: Path) -> None:
    head = [line for line in path.read_text().splitlines() if line.startswith("#") and "@package" not in line]
    commands = [line for line in head[:2] if re.match(r"# +python (train|evaluate)\.py", line)]
    assert commands, head[:2]
    named = f"{path.parent.name}={path.stem}"
    if path.parent != CONFIGS and path.stem not in ("demo", "default", "checkpoint"):
        assert named in commands[0] or f"={path.stem}" in commands[0]


def test_a_default_stands_in_one_place() -> None:
    """An experiment that repeats the value of the option it builds on says nothing."""
    for experiment in (name for group, name in OPTIONS if group == "experiment"):
        own = yaml.safe_load((CONFIGS / "experiment" / f"{experiment}.yaml").read_text())
        chosen = {k.split("/")[1]: v for entry in own.pop("defaults") for k, v in entry.items()}
        for group, values in own.items():
            with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
                option = OmegaConf.to_container(hydra.compose(f"{group}/{chosen.get(group, 'default')}"))[group]
            repeated = {key: value for key, value in values.items() if key in option and option[key] == value}
            assert not repeated, f"{experiment}: {group}.{repeated}"


def test_no_part_has_defaults_of_its_own() -> None:
    """A constructor whose arguments all stand in YAML needs none (``initialise`` is the caller's).

    Classical functions are called from notebooks too: ``tests/segmenters/test_contract.py`` compares their defaults.
    """
    exempt = re.compile(r".*\.classical\.(threshold|edges|kmeans|postprocess)\.|.*\.load_segmenter$")
    for path in FILES:
        for _, node in target_nodes(yaml.safe_load(path.read_text())):
            target = node["_target_"]
            if target.startswith("segtrain.") and not exempt.match(target):
                parameters = signature(get_object(target)).parameters.values()
                twice = [p.name for p in parameters if p.default is not Parameter.empty and p.name in node]
                assert not twice, f"{target}: {twice}"


PARTS = ("segmenter", "augmentation", "optimizer", "schedule", "segmenters")
HIDDEN = ("_target_", "data.generator", "data.from_checkpoint")  # not for users
OF_TRAINING = {"data.min_object_pixels"}  # evaluations draw no training samples


def leaves(values: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the values that a user may set, by dotted key."""
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and value and key not in HIDDEN:
            yield from leaves(value, f"{key}.")
        elif not key.endswith(HIDDEN):
            yield key, value


@pytest.fixture(scope="module")
def helps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Finished]:
    """Run both scripts with ``--help``, in a folder that stays empty."""
    folder = tmp_path_factory.mktemp("help")
    finished = {script: run(script, "--help", folder=folder) for script in ("train", "evaluate")}
    assert not list(folder.iterdir())
    return finished


@pytest.mark.parametrize("script", ["train", "evaluate"])
def test_help_describes_every_key(script: str, helps: dict[str, Finished]) -> None:
    finished = helps[script]
    assert (finished.code, finished.err) == (0, "")
    assert f"usage: python {script}.py [GROUP=OPTION ...]" in finished.out
    _, *sections = re.split(r"^Keys.*:$", finished.out, flags=re.MULTILINE)
    shown = dict(re.findall(r"^  ([\w.]+)=(\S+)", "".join(sections), re.MULTILINE))
    keys = dict(leaves({key: value for key, value in compose(script).items() if key not in PARTS}))
    if script == "evaluate":
        keys = {key: value for key, value in keys.items() if key not in OF_TRAINING}
    assert shown.keys() == keys.keys()
    assert all(yaml.safe_load(text) == keys[key] for key, text in shown.items() if key != "output_dir")


@pytest.mark.parametrize(
    ("record", "name"),
    [(Train, "train"), (Evaluate, "evaluate"), (Data, "data/coco"), (TrainSettings, "trainer/default")],
)
def test_every_key_has_a_comment(record: type, name: str) -> None:
    groups = {"data", *PARTS, "trainer"}
    assert get_type_hints(record).keys() - groups <= read_comments([CONFIGS], name).keys()


def test_help_says_what_may_be_null(helps: dict[str, Finished], tmp_path: Path) -> None:
    out = " ".join(helps["evaluate"].out.split())
    assert "for AP (whole number from 1, or null) data.check=null" in out
    out = " ".join(run("evaluate", "data=coco", "--help", folder=tmp_path).out.split())
    assert "for AP (whole number from 1) data.check=strict" in out


def test_help_lists_the_options_that_suit_the_command(helps: dict[str, Finished]) -> None:
    listed = {script: " ".join(finished.out.split()) for script, finished in helps.items()}
    networks = [name for group, name in OPTIONS if group == "segmenter" and name.startswith("mask_rcnn")]
    assert f"network to train: {', '.join(sorted(networks))} augmentation=" in listed["train"]
    assert "learn from: coco, synthetic segmenter=" in listed["train"]
    assert "evaluate on: checkpoint, coco, synthetic methods=" in listed["evaluate"]
    assert "threshold_otsu" in listed["evaluate"]
    assert "mask_rcnn_" not in listed["evaluate"]


def test_help_lists_options_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "segmenter").mkdir()
    (tmp_path / "segmenter" / "my_net.yaml").write_text("_target_: my_package.Net\n_partial_: true\n")
    out = run("train", "--config-dir", str(tmp_path), "--help", folder=tmp_path).out
    assert "mask_rcnn_resnet50_fpn_v2, my_net" in " ".join(out.split())


def test_options_in_the_folder_conf_are_found(tmp_path: Path) -> None:
    (tmp_path / "conf" / "segmenter").mkdir(parents=True)
    (tmp_path / "conf" / "segmenter" / "my_net.yaml").write_text(
        "_target_: my_package.Net\n_partial_: true\nwidth: 1\n"
    )
    text = message(run("train", "segmenter=my_net", "segmenter.widht=2", "sed=1", folder=tmp_path))
    assert "my_net:" not in text
    assert "sed=1: no such key; did you mean seed?" in text
    assert "did you mean segmenter.width?" in text
    printed = yaml.safe_load(run("train", "--cfg", "job", "segmenter=my_net", folder=tmp_path).out)
    assert printed["segmenter"]["width"] == 1
    (tmp_path / "other").mkdir()
    elsewhere = message(run("train", "--config-dir=other", "segmenter=my_net", folder=tmp_path))
    assert "segmenter=my_net: no such option" in elsewhere
    assert "--config-dir nowhere: no such folder" in message(run("train", "--config-dir", "nowhere", folder=tmp_path))
    both = message(run("train", "--config-dir=other", "hydra.searchpath=[file:///x]", folder=tmp_path))
    assert "give one of them" in both


def test_options_are_found_whatever_the_folder_is_called(tmp_path: Path) -> None:
    folder = tmp_path / "größe 1, (a)" / "conf" / "segmenter"
    folder.mkdir(parents=True)
    (folder / "my_net.yaml").write_text("_target_: my_package.Net\n_partial_: true\nwidth: 1\n")
    printed = yaml.safe_load(run("train", "--cfg", "job", "segmenter=my_net", folder=folder.parents[1]).out)
    assert printed["segmenter"]["width"] == 1


def test_of_repeated_overrides_the_last_one_is_checked(tmp_path: Path) -> None:
    (values,) = compose_runs("train", ["seed=1", "seed=2", "seed=1"])
    assert values["seed"] == 1


def test_a_network_of_the_user_that_is_not_partial(tmp_path: Path) -> None:
    (tmp_path / "segmenter").mkdir()
    (tmp_path / "segmenter" / "my_net.yaml").write_text("_target_: my_package.Net\n")
    text = message(run("train", "--config-dir", str(tmp_path), "segmenter=my_net", "output_dir=run", folder=tmp_path))
    assert text.startswith("error: segmenter: add '_partial_: true' to its YAML file")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("script", ["train", "evaluate"])
def test_the_whole_configuration_can_be_printed(script: str, tmp_path: Path) -> None:
    finished = run(script, "--cfg", "job", "seed=5", folder=tmp_path)
    assert finished.code == 0
    printed = yaml.safe_load(finished.out)
    assert printed["seed"] == 5
    assert not list(tmp_path.iterdir())


@pytest.mark.few(6)
@pytest.mark.parametrize(
    ("script", "arguments", "expected"),
    [
        ("train", ["trainer.epoch=3"], "trainer.epoch=3: no such key; did you mean trainer.epochs?"),
        ("train", ["epochs=3"], "epochs=3: no such key; did you mean trainer.epochs?"),
        ("train", ["sed=1"], "did you mean seed?"),
        ("train", ["segmentr=x"], "did you mean segmenter?"),
        ("train", ["experiment=nucle"], "experiment=nucle: no such option; did you mean nuclei?"),
        ("train", ["methods=all"], "methods=all: no such group"),
        (
            "train",
            ["data=checkpoint"],
            "data=checkpoint: there is no checkpoint to take the data from; choose coco or synthetic",
        ),
        ("train", ["data.max_dets=null"], "data.max_dets=null: give a whole number from 1"),
        ("train", ["segmenter=foo"], "segmenter=foo: no such option; --help lists them"),
        (
            "train",
            ["segmenter=mask_rcn"],
            "did you mean mask_rcnn_mobilenet_v2_fpn, mask_rcnn_resnet18_fpn, mask_rcnn_resnet50_fpn or "
            "mask_rcnn_resnet50_fpn_v2?",
        ),
        ("train", ["segmenter.foo=1"], "segmenter.foo=1: no such key; --cfg job lists the keys of segmenter"),
        ("train", ["segmenter.rpn=1"], "did you mean rpn_anchors_per_image, rpn_candidates_test, "),
        ("evaluate", ["bootstrap.foo=1"], "bootstrap.foo=1: no such key; choose resamples"),
        ("evaluate", ["segmenter=kmeans"], "segmenter=kmeans: no such key; write +segmenter@segmenters.NAME=kmeans"),
        ("train", ["--cfg"], "--cfg: choose job, hydra or all"),
        ("train", ["-c", "seed=1"], "-c seed=1: choose job, hydra or all"),
        ("train", ["--info=x"], "--info=x: choose all, config, defaults, defaults-tree, plugins or searchpath"),
        ("train", ["--config-dir"], "--config-dir: give a folder"),
        ("train", ["seed=0,1"], "seed=0,1: several values; write a list as KEY=[A,B], or add --multirun to try each"),
        ("train", ["segmenter.norm=x"], "segmenter.norm=x: choose auto, frozen or batch"),
        ("train", ["seed=abc"], "seed=abc: give a whole number from 0"),
        ("evaluate", ["score_threshold=auto"], "score_threshold=auto: give a number, a mapping or null"),
        ("train", ["trainer=null"], "trainer=null: no such option; choose default"),
        ("evaluate", ["methods=foo"], "choose all, classical, mask_rcnn, none, oracle or tuned"),
        ("evaluate", ["+segmenter@segmenters.x=kmean"], "did you mean kmeans?"),
        ("evaluate", ["~segmenters.kmean"], "did you mean segmenters.kmeans?"),
        ("evaluate", ["predictons.x=a.json"], "did you mean predictions"),
        ("evaluate", ["seed"], "seed: not of the form KEY=VALUE"),
        ("evaluate", ["a=b]"], "a=b]: not of the form KEY=VALUE"),
        ("evaluate", ["--methods=all"], "--methods=all: no such option"),
        ("train", ["output_dir=${nothing}"], "'nothing' not found"),
    ],
)
def test_mistyped_overrides(script: str, arguments: list[str], expected: str, tmp_path: Path) -> None:
    assert expected in message(run(script, *arguments, folder=tmp_path))
    assert not list(tmp_path.iterdir())


def test_all_mistakes_are_listed_once(tmp_path: Path) -> None:
    arguments = ["trainer.epoch=3", "sed=1", "sed=1", "segmenter=resnet", "seed=abc", "trainer.batch_size=0"]
    text = message(run("train", *arguments, "+schedule.warmup=3", folder=tmp_path))
    for part in (
        "trainer.epochs?",
        "did you mean seed?",
        "segmenter=resnet",
        "seed=abc",
        "batch_size=0",
        "schedule.warmup:",
    ):
        assert text.count(part) == 1, part


@pytest.mark.parametrize("value", [50, -1.5, {"person": 0.3}, None])
def test_score_thresholds_of_an_evaluation_have_no_bounds(value: object) -> None:
    """Result files may have percents or logits."""
    assert list(check_values(Evaluate, {"score_threshold": value})) == []


@pytest.mark.few(6)
@pytest.mark.parametrize(
    ("script", "override"),
    [
        ("train", "data.max_dets=abc"),
        ("train", "data.max_dets=0"),
        ("train", "data.val_fraction=1.5"),
        ("train", "trainer.batch_size=0"),
        ("train", "trainer.max_steps=-1"),
        ("train", "trainer.precision=foo"),
        ("train", "threads=0"),
        ("train", "threads=many"),
        ("train", "seed=-1"),
        ("train", "seed=1.5"),
        ("train", "score_threshold=2"),
        ("train", "score_threshold=null"),
        ("train", "overwrite=perhaps"),
        ("train", "segmenter.nms_iou=3"),
        ("train", "segmenter.anchor_sizes=3"),
        ("train", "segmenter.architecture=vgg"),
        ("train", "schedule.warmup_factor=2"),
        ("train", "data.generator.size=large"),
        ("train", "data.generator.easy.gap=wide"),
        ("train", "data.folds=1"),
        ("evaluate", "tracks=foo"),
        ("evaluate", "precision=foo"),
        ("evaluate", "score_threshold=auto"),
        ("evaluate", "tune.metric=ap"),
        ("evaluate", "tune.images=0"),
        ("evaluate", "tune.seconds=0"),
        ("evaluate", "tune.trials=none"),
        ("evaluate", "tune.seconds=-1"),
        ("evaluate", "gallery=-1"),
        ("evaluate", "bootstrap.resamples=-1"),
        ("evaluate", "bootstrap.resamples=x"),
        ("evaluate", "checkpoint=3"),
        ("evaluate", "predictions.x=null"),
        ("evaluate", "data.on_bad_image=ignore"),
        ("train", "data.exif=upright"),
        ("evaluate", "data.max_image_pixels=0"),
        ("evaluate", "segmenters.kmeans.method.clusters=abc"),
    ],
)
def test_wrong_values(script: str, override: str, tmp_path: Path) -> None:
    key, _, value = override.partition("=")
    text = message(run(script, override, folder=tmp_path))
    assert key in text
    assert value.removesuffix("null") in text
    assert not list(tmp_path.iterdir())


@pytest.mark.few(4)
@pytest.mark.parametrize(
    ("script", "override", "expected"),
    [
        (
            "train",
            "+trainer.learning_rate=1",
            "trainer.learning_rate: segtrain.training.settings.TrainSettings has no such",
        ),
        ("train", "+optimizer.momentums=1", "optimizer.momentums: torch.optim.AdamW has no such argument"),
        ("train", "+schedule.warmup_step=1", "did you mean warmup_steps?"),
        ("train", "+segmenter.fpn_channel=1", "did you mean fpn_channels?"),
        ("train", "+data.generator.easy.noises=1", "data.generator.easy.noises"),
        ("train", "+augmentation.transforms.light.brightness=1", "augmentation.transforms.light.brightness"),
        ("train", "+augmentation.transforms.x._target_=albumentations.Nothing", "augmentation.transforms.x._target_"),
        ("train", "~schedule.warmup_steps", ""),
        ("evaluate", "+segmenters.kmeans.method.cluster=1", "did you mean clusters?"),
        ("evaluate", "+segmenters.kmeans.scores=1", "segmenters.kmeans.scores"),
        ("evaluate", "segmenters.kmeans=null", "'~segmenters.kmeans'"),
        ("evaluate", "+segmenter@segmenters.net=mask_rcnn_resnet18_fpn", "segmenters.net: a network without weights"),
        ("evaluate", "predictions.kmeans=a.json", "predictions.kmeans: a segmenter has this name already"),
        ("evaluate", "predictions.x={file: a.json, image_offset: 1}", "did you mean image_id_offset?"),
        (
            "evaluate",
            "predictions.x={file: a.json, category_map: 3}",
            "category_map=3: give order, order_from_1, a mapping or null",
        ),
        ("evaluate", "predictions.x={image_id_offset: 1}", "predictions.x: not a path; give a COCO result file"),
        ("train", "segmenter=kmeans", "segmenter: this one does not learn"),
    ],
)
def test_bad_arguments_of_parts(script: str, override: str, expected: str, tmp_path: Path) -> None:
    finished = run(script, override, folder=tmp_path)
    assert expected in message(finished)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["data.folds=5"], "give the fold to validate on, data.fold=0, or all in turn with --multirun data.folds=5"),
        (["data.fold=1"], "data.fold=1: give the number of folds too, such as data.folds=5"),
        (["data.folds=3", "data.fold=3"], "data.fold=3: the 3 folds are numbered from 0 to 2"),
        (["data.folds=3", "data.fold=0", "data.val_fraction=0.5"], "data.folds and data.val_fraction exclude each"),
    ],
)
def test_folds_say_what_is_validated_on(overrides: list[str], expected: str, tmp_path: Path) -> None:
    assert expected in message(run("train", *overrides, folder=tmp_path))


def test_problems_deep_inside_are_all_found() -> None:
    transform = {"_target_": "albumentations.HorizontalFlip", "p": 0.5, "q": 1}
    bad = {"a": [{"_target_": "segtrain.training.schedule.Constant", "warmup_steps": -1, "inner": transform}]}
    with pytest.raises(SegtrainError) as caught:
        check_targets(bad)
    for part in ("a[0].warmup_steps=-1", "a[0].warmup_factor: missing", "a[0].inner: ", "a[0].inner.q: "):
        assert part in str(caught.value)


def test_a_part_that_refuses_its_settings_is_one_line() -> None:
    flip = {"_target_": "albumentations.HorizontalFlip", "p": 2}
    chain = {"_target_": "segtrain.data.augmentation.Augmentation", "transforms": {"flip": flip}}
    with pytest.raises(SegtrainError, match=r"transforms\.flip: p=2: Input should be less than or equal to 1"):
        build(chain)
    with pytest.raises(SegtrainError, match="Invalid learning rate"):
        build({"_target_": "torch.optim.SGD", "_partial_": True, "lr": -1}, [])


def test_packages_beside_the_options_of_the_user_come_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    monkeypatch.setattr(sys, "path", before.copy())
    import_beside_options()
    assert sys.path == before
    (tmp_path / "conf").mkdir()
    for _ in range(2):
        import_beside_options()
    assert sys.path == [*before, str(tmp_path)]


@pytest.mark.parametrize("sweep", [name for group, name in OPTIONS if group == "sweep"])
def test_a_search_begins_with_its_preset(sweep: str) -> None:
    register_schemas()
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = hydra.compose("train", [f"sweep={sweep}", "data.root=."], return_hydra_config=True)
        preset = hydra.compose("train", [f"experiment={sweep}", "data.root=."])
        space = space_of(config, [])
    own = space.own_values(config)
    assert [key for key, value in own.items() if value is None] == []
    assert config.trainer.validate_every is not None  # or no job would end early
    given, before = OmegaConf.to_container(config), OmegaConf.to_container(preset)
    del given["hydra"], given["trainer"]["validate_every"], before["trainer"]["validate_every"]
    if sweep == "nuclei":  # its crop stays square
        assert given["augmentation"]["transforms"]["crop"].pop("width") == "${augmentation.transforms.crop.height}"
        assert before["augmentation"]["transforms"]["crop"].pop("width") == 192
    assert given == before


def test_every_experiment_has_a_space() -> None:
    names = {kind: {name for group, name in OPTIONS if group == kind} for kind in ("sweep", "experiment")}
    assert names["sweep"] == names["experiment"]
