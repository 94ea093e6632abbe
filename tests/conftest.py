"""Fixtures and settings of all tests."""

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, is_hypothesis_test, settings

# Before anything imports albumentations, which would ask a package index for news.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
# Tests run in as many processes as there are cores: one thread each, before torch counts them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.helpers.scripts import SMALL, WHOLE_RUN, Finished, data_of, run, write_data

# How long an example takes depends on what else the machine does, so there is no deadline.
settings.register_profile("full", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=200)
# The fast tests draw the same examples in each run: whether a change may land is no matter of luck.
settings.register_profile("fast", settings.get_profile("full"), max_examples=12, derandomize=True)

# Tests that run a script, train, start processes, build networks of full size, or measure: not marked `unit`.
LONG = [
    "benchmark", "benchmarks", "cli", "training", "test_readme.py", "test_api.py", "report/test_browser.py",
    "data/test_fuzz.py", "data/test_check.py", "data/test_check_start.py", "data/test_shared_array.py",
    "data/test_loader.py", "data/test_workers.py", "data/storage", "data/test_pixel_cache.py",
    "segmenters/test_weights.py", "export",
    "segmenters/test_torchvision_parity.py", "segmenters/test_mask_rcnn.py", "segmenters/test_contract.py",
    "metrics/test_new_metric.py", "../segtrain/__init__.py", "../segtrain/api.py", "../segtrain/cli/runs.py",
    "../segtrain/export/export_files.py",
]  # fmt: skip


def _runs_slow(config: pytest.Config) -> bool:
    return config.option.markexpr == "slow"


def pytest_configure(config: pytest.Config) -> None:
    """Choose how many examples Hypothesis draws for a test: all of them with ``-m slow``."""
    settings.load_profile("full" if _runs_slow(config) else "fast")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests as ``unit``: all but slow ones, those that run a script, and those of `LONG`.

    With ``-m slow`` the tests of Hypothesis run once more, with all their examples, and so do those cases of a test
    marked ``few(n)`` that are not among its ``n`` fast ones.
    """
    for cases in _cases(items).values():
        if (few := cases[0].get_closest_marker("few")) is not None:
            fast = {len(cases) * number // few.args[0] for number in range(few.args[0])}  # evenly spread
            for number in set(range(len(cases))) - fast:
                cases[number].add_marker("slow")
    if _runs_slow(config):
        for item in items:
            if is_hypothesis_test(getattr(item, "obj", None)):
                item.add_marker("slow")
    long = {(Path(__file__).parent / name).resolve() for name in LONG}
    for item in items:
        scripts = "workplace" in getattr(item, "fixturenames", ())
        if not (scripts or item.get_closest_marker("slow") or long & {item.path, *item.path.parents}):
            item.add_marker("unit")


def _cases(items: Iterable[pytest.Item]) -> dict[str, list[pytest.Item]]:
    """Group tests by their function."""
    found: dict[str, list[pytest.Item]] = {}
    for item in items:
        found.setdefault(item.nodeid.partition("[")[0], []).append(item)
    return found


@pytest.fixture(scope="session", autouse=True)
def _no_wait_for_the_disk() -> Iterator[None]:
    """Leave out what makes files survive a failure of power, for which a busy disk lets each write wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@dataclass
class Workplace:
    """A folder with a small data set, a run and its evaluation; read-only for tests."""

    folder: Path
    training: Finished
    evaluation: Finished

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def report(self) -> Path:
        return self.folder / "report"

    @property
    def best(self) -> Path:
        return self.run / "checkpoints" / "best.pt"


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    folder = tmp_path_factory.mktemp("workplace")
    data = data_of(write_data(folder / "data"))
    training = run("train", *SMALL, *WHOLE_RUN, *data, "output_dir=run", folder=folder)
    assert training.code == 0, training.err
    arguments = ["checkpoint=run/checkpoints/best.pt", "output_dir=report", "threads=1", "tune.trials=2"]
    evaluation = run("evaluate", *arguments, folder=folder)
    assert evaluation.code == 0, evaluation.err
    return Workplace(folder, training, evaluation)


@pytest.fixture
def data(workplace: Workplace, tmp_path: Path) -> Path:
    """A copy of the small data set, to be spoilt."""
    return Path(shutil.copytree(workplace.data, tmp_path / "data"))
