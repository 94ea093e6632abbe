"""evaluate.py with several checkpoints: their rows, their names, and seeds of one configuration."""

from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from segtrain.benchmark.checkpoints import EvaluatedCheckpoint, find_checkpoints
from segtrain.benchmark.comparisons import seed_groups
from segtrain.benchmark.evaluated_runs import seeds_of_one_configuration, settings_of_runs
from segtrain.benchmark.method_list import reference_row
from segtrain.benchmark.run_names import run_names
from segtrain.cli.launch import compose_runs
from segtrain.errors import SegtrainError
from segtrain.metrics.scores import plain
from segtrain.nodes import flat_settings, holds_change
from segtrain.report.sections.training_runs import seed_table
from segtrain.report.verdict import verdict
from segtrain.training.settings import WITHOUT_EFFECT
from tests.cli.test_evaluate import NUMBERS, evaluate, results
from tests.conftest import Workplace
from tests.helpers.report_examples import method, typed
from tests.helpers.report_examples import results as some_results
from tests.helpers.scripts import SMALL, WHOLE_RUN, data_of, message, run
from tests.helpers.tiny_runs import checkpoint


@pytest.fixture(scope="module")
def runs(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two more runs of the workplace's configuration: one of another seed, one of another rate."""
    folder = tmp_path_factory.mktemp("runs")
    for name, change in (("other_seed", "seed=7"), ("other_rate", "optimizer.lr=0.002")):
        training = [*SMALL, *WHOLE_RUN, *data_of(workplace.data), f"output_dir={name}", change]
        finished = run("train", *training, folder=folder)
        assert finished.code == 0, finished.err
    return folder


def best(folder: Path) -> Path:
    return folder / "checkpoints" / "best.pt"


def test_each_run_has_its_row(workplace: Workplace, runs: Path, tmp_path: Path) -> None:
    paths = [workplace.best, best(runs / "other_seed"), best(runs / "other_rate")]
    named = f"checkpoint=[{','.join(map(str, paths))}]"
    methods = ["methods=mask_rcnn", "+segmenter@segmenters.otsu=threshold_otsu"]
    found = evaluate(tmp_path, named, *methods, "gallery=1", "bootstrap.resamples=50")
    rows = [f"mask_rcnn · lr {run}" for run in ("1e-3 · seed 0", "1e-3 · seed 7", "2e-3 · seed 0")]
    assert list(found["methods"]) == [*rows, "otsu"]
    for row, path in zip(rows, paths, strict=True):
        assert found["checkpoints"][row]["path"] == str(path)
        assert (tmp_path / "report" / "predictions" / f"{row}.json").is_file()
    alone = (
        results(workplace.report),
        evaluate(
            tmp_path,
            f"checkpoint={paths[1]}",
            "methods=mask_rcnn",
            "gallery=0",
            "bootstrap.resamples=0",
            output="alone",
        ),
    )
    for row, other in zip(rows, alone, strict=False):
        for key in NUMBERS:
            assert found["methods"][row]["class_aware"][key] == other["methods"]["mask_rcnn"]["class_aware"][key]
    assert found["reference"] == rows[0]
    assert list(found["comparisons"]) == [*rows[1:], "otsu"]
    (group,) = found["seeds"]
    assert (group["rows"], group["seeds"]) == (rows[:2], [0, 7])
    assert [own["folder"] for own in found["runs"]["runs"]] == [str(path.parents[1]) for path in paths]
    assert {own["name"] for own in found["runs"]["configurations"]} == {"lr 1e-3", "lr 2e-3 · seed 0"}
    values = [found["methods"][row]["class_agnostic"]["miou"] for row in rows[:2]]
    spread = group["class_agnostic"]["miou"]
    assert spread["mean"] == pytest.approx(fmean(values))
    assert spread["deviation"] == pytest.approx(stdev(values))
    assert (spread["low"], spread["high"]) == (min(values), max(values))
    for name in ("report.html", "report.md"):
        text = (tmp_path / "report" / name).read_text()
        assert "Seeds of one configuration" in text
        assert "Settings and cost" in text
        assert all(row in text for row in rows)


@pytest.mark.slow
def test_overwriting_removes_the_rows_of_runs(workplace: Workplace, runs: Path, tmp_path: Path) -> None:
    named = f"checkpoint=[{workplace.best},{best(runs / 'other_seed')}]"
    options = ["methods=mask_rcnn", "gallery=0", "bootstrap.resamples=0"]
    evaluate(tmp_path, named, *options)
    evaluate(tmp_path, f"checkpoint={workplace.best}", *options, "overwrite=true")
    folder = tmp_path / "report" / "predictions"
    left = {str(path.relative_to(folder)) for path in folder.rglob("*.json")}
    assert left == {"mask_rcnn.json", "mask_rcnn.bbox.json"}


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("[]", "name at least one"),
        ("[BEST,BEST]", "best.pt is named more than once"),
        ("[BEST,missing.pt]", "missing.pt"),
    ],
)
def test_what_cannot_be_meant(workplace: Workplace, tmp_path: Path, named: str, said: str) -> None:
    given = named.replace("BEST", str(workplace.best))
    assert said in message(run("evaluate", f"checkpoint={given}", "methods=mask_rcnn", folder=tmp_path))


def config(paths: list[Path], **data: Any) -> dict[str, Any]:
    none = dict.fromkeys(("train_annotations", "val_annotations", "val_fraction", "split_by", "folds", "fold"))
    loader = {"_target_": "segtrain.training.checkpoint.load_segmenter"}
    return {
        "checkpoint": [str(path) for path in paths],
        "data": {"from_checkpoint": True, **none, **data},
        "segmenters": {"mask_rcnn": loader},
    }


def saved(path: Path, seed: int, val_ids: list[int] | None, val: str | None = None, **data: Any) -> Path:
    own = {"root": "/data", "val_annotations": None if val_ids else "val.json", "val_images": "val", **data}
    settings = {**checkpoint().config, "seed": seed, "data": own}
    contents = {} if val is None else {"train": "a", "val": val}
    checkpoint(seed=seed, val_ids=val_ids, config=settings, contents=contents).save(path)
    return path


def test_runs_that_saw_each_others_validation_images_are_refused(tmp_path: Path) -> None:
    """Their splits were drawn by their seeds, so each was trained on most of what the other was validated on."""
    paths = [saved(tmp_path / f"{seed}.pt", seed, [seed, 9]) for seed in (1, 2)]
    with pytest.raises(SegtrainError, match=r"2.pt was validated on other images: .* seeds 2 and 1.*data\.val_annot"):
        find_checkpoints(config(paths))
    assert len(find_checkpoints(config(paths, val_annotations="own.json"))) == 2
    other = saved(tmp_path / "3.pt", 1, None, root="/elsewhere")
    same = saved(tmp_path / "4.pt", 1, None)
    with pytest.raises(SegtrainError, match=r"3.pt was validated on other images: data.root is /elsewhere there"):
        find_checkpoints(config([same, other]))
    assert len(find_checkpoints(config([same, saved(tmp_path / "5.pt", 2, None)]))) == 2


def test_a_moved_folder_is_the_same_data_and_an_edited_file_is_not(tmp_path: Path) -> None:
    first = saved(tmp_path / "1.pt", 1, None, "b")
    moved = saved(tmp_path / "2.pt", 2, None, "b", root="/elsewhere")
    edited = saved(tmp_path / "3.pt", 3, None, "c")
    sources = find_checkpoints(config([first, moved]))
    assert seeds_of_one_configuration({"a": sources[0], "b": sources[1]}) == {("a", "b"): [1, 2]}
    with pytest.raises(SegtrainError, match=r"3.pt was validated on other images: /data/val.json or its images have"):
        find_checkpoints(config([first, edited]))


def test_names_of_runs_tell_them_apart() -> None:
    def names(*paths: str) -> list[str]:
        return run_names([Path(path) for path in paths])

    assert names("/r/a/checkpoints/best.pt", "/r/b/checkpoints/best.pt") == ["a", "b"]
    assert names("/r/a/0/checkpoints/best.pt", "/r/b/0/checkpoints/best.pt") == ["a-0", "b-0"]
    assert names("/r/a/checkpoints/best.pt", "/r/a/checkpoints/last.pt") == ["a-best", "a-last"]
    assert names("/models/one.pt", "/models/two.pt") == ["models-one", "models-two"]
    runs = [f"/{run}/net/checkpoints/{name}.pt" for run, name in (("p", "best"), ("p", "last"), ("q", "best"))]
    assert names(*runs) == ["p-net-best", "p-net-last", "q-net-best"]


PARTS = st.sampled_from(["a", "b", "a-b", "best", "checkpoints"])
FILES = st.builds(
    lambda folders, name: Path("/", *folders, name),
    st.lists(PARTS, max_size=3), st.sampled_from(["best.pt", "last.pt", "best.pth", "a-best.pt"]),
)  # fmt: skip


@given(st.lists(FILES, min_size=2, max_size=6, unique=True))
@example([Path("/m/best.pt"), Path("/m/checkpoints/best.pt")])
@example([Path("/m/best.pt"), Path("/m/best.pth")])
@example([Path("/a-b/c/best.pt"), Path("/a/b-c/best.pt")])
def test_no_two_checkpoints_have_one_name(paths: list[Path]) -> None:
    assert len(set(run_names(paths))) == len(paths)


def test_seeds_are_grouped_by_what_else_the_configuration_says() -> None:
    def source(seed: int, lr: float) -> EvaluatedCheckpoint:
        own = {"seed": seed, "output_dir": f"/runs/{seed}", "optimizer": {"lr": lr}}
        return EvaluatedCheckpoint(Path(f"/runs/{seed}/best.pt"), checkpoint(seed=seed, config=own))

    rows = {
        "a": source(0, 0.1),
        "b": source(1, 0.1),
        "c": source(2, 0.2),
        "d": source(3, 0.1),
        "e": EvaluatedCheckpoint(None, None),
    }
    assert seeds_of_one_configuration(rows) == {("a", "b", "d"): [0, 1, 3]}
    assert seeds_of_one_configuration({"a": source(0, 0.1), "b": source(0, 0.1)}) == {}  # twice the same run
    repeated = {"a": source(0, 0.1), "b": source(1, 0.1), "c": source(1, 0.1)}
    assert seeds_of_one_configuration(repeated) == {("a", "b"): [0, 1]}


def test_seeds_are_grouped_by_data_of_equal_contents() -> None:
    """Fingerprints of earlier versions lack the sizes of all files."""

    def source(seed: int, text: str | None) -> EvaluatedCheckpoint:
        contents = {} if text is None else {"train": text, "val": text}
        config = {"seed": seed, "data": {"root": f"/data/{seed}"}}
        return EvaluatedCheckpoint(Path("best.pt"), checkpoint(seed=seed, config=config, contents=contents))

    texts = ["h-b", "h-b-c", "h-b-d", "i-b", "h-b-c", "i-b", None]
    rows = {str(seed): source(seed, text) for seed, text in enumerate(texts)}
    groups = {("0", "1", "2", "4"): [0, 1, 2, 4], ("3", "5"): [3, 5]}  # the first cannot tell the third from the second
    assert seeds_of_one_configuration(rows) == groups
    assert settings_of_runs([rows["0"], rows["1"]]) == [{"seed": "0"}, {"seed": "1"}]
    assert "data.root" in str(settings_of_runs([rows["1"], rows["2"]]))


@pytest.mark.parametrize("key", WITHOUT_EFFECT)
def test_what_changes_no_result_divides_no_group(key: str) -> None:
    first, second = ({"seed": seed, "trainer": {"epochs": 3, "log_every": 5}, "data": {}} for seed in (0, 1))
    *nodes, name = key.split(".")
    changed: dict[str, Any] = second
    for node in nodes:
        changed = changed[node]
    changed[name] = {"path": "x"} if key == "resume" else "x"
    rows = {
        str(seed): EvaluatedCheckpoint(Path("best.pt"), checkpoint(seed=seed, config=config))
        for seed, config in enumerate([first, second])
    }
    assert list(seeds_of_one_configuration(rows).values()) == [[0, 1]]
    second["trainer"]["epochs"] = 4
    assert not seeds_of_one_configuration(rows)


def test_what_changes_no_result_is_a_setting() -> None:
    (config,) = compose_runs("train", [])
    known = flat_settings(config)
    assert not [key for key in WITHOUT_EFFECT if not any(holds_change(own, key) for own in known)]


def test_the_spread_of_seeds_is_told() -> None:
    rows = {f"mask_rcnn · seed {n}": method(quality, 0.1, [], aware=False) for n, quality in enumerate((0.4, 0.5, 0.6))}
    (group,) = seed_groups(typed(some_results(rows)).methods, {tuple(rows): [0, 1, 2]})
    assert "mask_ap_large" not in group.class_agnostic  # undefined in all of them
    content = {
        **some_results(rows),
        "reference": "mask_rcnn · seed 0",
        "seeds": [plain(group)],
    }
    table = seed_table(typed(content))
    assert table is not None
    assert [row.method for row in table.rows] == ["seeds 0, 1, 2"]
    cell = table.rows[0].cells[0]
    assert (cell.text, cell.details) == ("0.500", ("± 0.100", "0.400 to 0.600"))
    assert seed_table(typed(some_results())) is None
    content["methods"]["otsu"] = method(0.2, 0.1, [], aware=False)
    said = "Over 3 seeds of one configuration mask AP is 0.500 ± 0.100, from 0.400 to 0.600."
    assert said in verdict(typed(content))
    other = {**plain(group), "rows": [f"mask_rcnn · lr 1 · seed {n}" for n in range(3)]}
    content["seeds"].append(other)
    table = seed_table(typed(content))
    assert table is not None
    assert [row.method for row in table.rows] == ["mask_rcnn · seeds 0, 1, 2", "mask_rcnn · lr 1 · seeds 0, 1, 2"]
    assert said.replace("one configuration", "mask_rcnn · lr 1") in verdict(typed(content))


def test_the_reference_is_the_named_row_or_its_first_run() -> None:
    assert reference_row("mask_rcnn", ["otsu", "mask_rcnn"], [], required=True) == "mask_rcnn"
    assert reference_row("net", ["otsu", "net · b", "net · a"], [], required=True) == "net · b"
    assert reference_row("a", ["otsu", "net · b", "net · a"], [], required=True) == "net · a"
    with pytest.raises(SegtrainError, match=r"reference=otso: there is no such row; did you mean otsu\?"):
        reference_row("otso", ["otsu", "mask_rcnn"], ["mask_rcnn"], required=True)


def test_without_a_row_of_the_default_name_the_reference_is_the_first_trained_one() -> None:
    rows = ["otsu", "mask_rcnn_old", "my_net · a", "my_net · b"]
    assert reference_row("mask_rcnn", rows, ["my_net · b", "my_net · a"], required=False) == "my_net · a"
    assert reference_row("mask_rcnn", rows, [], required=False) is None
