"""What the machine refuses ends in one line with a remedy, and what was saved stays."""

import errno
import io
import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import rich
from rich.console import Console
from rich.table import Table

from segtrain.cli.command_line import _Terminal, show
from segtrain.cli.failures import describe_failure
from segtrain.report.learning_section import require_same_images
from segtrain.report.sweep_table import SweepTable
from segtrain.training.checkpoint import load_checkpoint
from segtrain.training.learner import Learner
from segtrain.training.sweep_journal import SweepJob
from tests.conftest import Workplace
from tests.helpers.result_file_bench import Bench, perfect
from tests.helpers.scripts import SMALL, data_of, message, run
from tests.training.test_trainer import assert_same


def test_a_bug_is_not_described() -> None:
    assert describe_failure(ValueError("x")) is None
    assert describe_failure(RuntimeError("x")) is None
    text = "[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory: 9 bytes"
    assert "trainer.batch_size lower" in str(describe_failure(RuntimeError(text)))


def test_a_full_disk_is_named_with_the_file(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [*SMALL, *data_of(workplace.data), "output_dir=run", "resume=auto", "trainer.epochs=2"]
    assert run("train", *arguments, folder=tmp_path).code == 0
    last = tmp_path / "run" / "checkpoints" / "last.pt"
    before = last.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    step = Learner.train_step

    def fill(self: Learner, *rest: Any) -> None:
        step(self, *rest)
        monkeypatch.setattr(os, "fsync", full)

    monkeypatch.setattr(Learner, "train_step", fill)
    text = message(run("train", *arguments, "trainer.max_steps=3", folder=tmp_path))
    assert f"{last}: No space left on device; free some space" in text
    assert last.read_bytes() == before
    assert {path.name for path in last.parent.iterdir()} == {"best.pt", "last.pt"}


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")])
def test_want_of_memory(
    error: Exception, workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(Learner, "train_step", fail)
    text = message(run("train", *SMALL, *data_of(workplace.data), "output_dir=run", folder=tmp_path))
    assert text.startswith("error: out of memory: set trainer.batch_size lower")


def test_work_goes_on_where_stderr_is_closed_too(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As at the end of a session, or in ``train.py 2>&1 | head``."""

    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    console = Console(file=Closed())
    monkeypatch.setattr(console, "on_broken_pipe", lambda: sys.exit(1))
    monkeypatch.setattr(rich, "get_console", lambda: console)
    monkeypatch.setattr(sys, "stderr", Closed())
    show("a message")
    assert caplog.messages == ["stdout is closed: no more messages are shown; those of a run are in its log file"]


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(errno.ENOSPC, "No space left on device")])
def test_work_goes_on_without_a_reader_of_its_messages(
    error: OSError,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise error

    with caplog.at_level("INFO"):
        logging.getLogger("segtrain.test").info("said to nobody")
    console = Console(file=Closed())
    monkeypatch.setattr(console, "on_broken_pipe", lambda: sys.exit(1))  # rich's own closes the stdout of the tests
    monkeypatch.setattr(rich, "get_console", lambda: console)
    for _ in range(2):
        _Terminal().emit(caplog.records[0])
    show(Table("a column"))  # of results, at the end of a command
    assert (
        capsys.readouterr().err == "stdout is closed: no more messages are shown; those of a run are in its log file\n"
    )


def test_a_table_is_whole_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(*(f"column{number:03}" for number in range(30)))
    table.add_row(*(f"value{number:04}" for number in range(30)))
    console = Console(file=io.StringIO(), width=80)
    monkeypatch.setattr(rich, "get_console", lambda: console)
    show(table)
    jobs = [SweepJob(n, [f"key{key}=0.{n}23456789" for key in range(20)], "finished", str(n), n / 10) for n in range(2)]
    show(SweepTable(jobs))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert any("column000" in line and "column029" in line for line in lines)
    assert any("value0000" in line and "value0029" in line for line in lines)
    assert any(line.split()[:20] == [f"key{key}" for key in range(20)] for line in lines)
    assert max(map(len, lines)) < 1000


def test_a_signal_stops_a_training_that_then_goes_on(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [*SMALL, *data_of(workplace.data), "trainer.log_every=2", "trainer.max_steps=4"]
    step = Learner.train_step

    def stop(self: Learner, batches: Any, at: int, *rest: Any) -> None:
        if at == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        step(self, batches, at, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "train_step", stop)
        stopped = run("train", *arguments, "output_dir=run", folder=tmp_path)
    assert stopped.code == 143
    assert stopped.err.startswith("stopped at step 1; go on with: python train.py ")
    assert stopped.err.endswith(" output_dir=run resume=auto\n")
    assert stopped.err.strip() in (tmp_path / "run" / "train.log").read_text()
    record = (tmp_path / "run" / ".hydra" / "config.yaml").read_text()
    again = run("train", *arguments, "output_dir=run", "resume=auto", "optimizer.weight_decay=0.5", folder=tmp_path)
    assert (again.code, again.err) == (0, "")
    assert "changed: optimizer.weight_decay " in again.out
    assert "-> 0.5" in again.out
    assert (tmp_path / "run" / ".hydra" / "config.yaml").read_text() == record
    changes = (tmp_path / "run" / ".hydra" / "resumed_1" / "changes.yaml").read_text()
    assert "optimizer.weight_decay:" in changes
    last = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")
    assert last.training is not None
    assert last.training["optimizer"]["param_groups"][0]["weight_decay"] == 0.5
    whole = run("train", *arguments, "output_dir=whole", folder=tmp_path)
    assert whole.code == 0
    first = load_checkpoint(tmp_path / "whole" / "checkpoints" / "last.pt")
    with pytest.raises(AssertionError):
        assert_same(first.model, last.model)  # the other decay is used


def test_the_command_that_goes_on_where_nothing_was_saved_yet(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that would replace another one does not go on with that, and a schedule that begins anew still does."""
    arguments = [*SMALL, *data_of(workplace.data), "output_dir=run"]
    assert run("train", *arguments, folder=tmp_path).code == 0

    def stop(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("segtrain.cli.train.announce", stop)
    given = [*arguments, "trainer.forecast=true", "trainer.max_steps=4"]
    replacing = run("train", *given, "overwrite=true", folder=tmp_path)
    assert replacing.code == 143
    assert replacing.err.startswith("stopped at step 0; go on with: python train.py ")
    assert replacing.err.endswith(" overwrite=true output_dir=run\n")
    anew = run("train", *given, "resume=auto", "resume.schedule=restart", folder=tmp_path)
    assert anew.err.startswith("stopped at step 2; go on with: ")
    assert anew.err.endswith(" output_dir=run resume=auto resume.schedule=restart\n")


def test_other_data_and_a_state_without_its_file_are_refused(workplace: Workplace, data: Path, tmp_path: Path) -> None:
    arguments = [*SMALL, *data_of(data), "output_dir=run", "resume=auto"]
    assert run("train", *arguments, folder=tmp_path).code == 0
    text = (data / "train.json").read_text()
    (data / "train.json").write_text(text.replace("[[5", "[[6"))
    assert (data / "train.json").read_text() != text
    assert "its training data had another content" in message(run("train", *arguments, folder=tmp_path))
    part = message(run("train", *arguments, "data.fraction=0.5", folder=tmp_path))
    assert "its training images are those of data.fraction=1 and seed=0; give these, or begin a new run" in part
    (data / "train.json").write_text(text.replace(", ", ",\n "))
    checkpoints = tmp_path / "run" / "checkpoints"
    assert run("train", *arguments, folder=tmp_path).code == 0
    (checkpoints / "last.pt").unlink()
    best = (checkpoints / "best.pt").read_bytes()
    assert "last.pt is missing" in message(run("train", *arguments, folder=tmp_path))
    assert (checkpoints / "best.pt").read_bytes() == best


def test_a_reference_on_other_images_is_refused_before_the_training(data: Path, tmp_path: Path) -> None:
    results = Bench(tmp_path).add("own", perfect()).results()
    (tmp_path / "results.json").write_text(json.dumps(results))
    arguments = [*SMALL, *data_of(data), "output_dir=run", "sweep.reference=results.json"]
    said = message(run("train", *arguments, folder=tmp_path))
    assert "results.json: evaluates other images or annotations than those that this training validates on" in said
    assert not (tmp_path / "run").exists()
    require_same_images(tmp_path, results["data"]["contents"])
    results["data"]["contents"] = None  # an earlier evaluation, which does not state it
    (tmp_path / "results.json").write_text(json.dumps(results))
    require_same_images(tmp_path, "others")


@pytest.mark.slow
def test_names_reach_neither_terminal_nor_reports_with_escape_codes(data: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        text = (data / f"{split}.json").read_text().replace('"square"', '"squ\\u001b[31mare\\u009b"')
        (data / f"{split}.json").write_text(text)
    trained = run("train", *SMALL, *data_of(data), "output_dir=run", folder=tmp_path)
    rows = ["methods=mask_rcnn", "checkpoint=run", "output_dir=report", "threads=1", "gallery=1"]
    evaluated = run("evaluate", *rows, folder=tmp_path)
    assert (trained.code, evaluated.code) == (0, 0), (trained.err, evaluated.err)
    texts = [trained.out, trained.err, evaluated.out, evaluated.err, (tmp_path / "run" / "train.log").read_text()]
    texts += [(tmp_path / "report" / f"{name}").read_text() for name in ("results.json", "report.md", "report.html")]
    assert not [text for text in texts if "\x1b" in text or "\x9b" in text]
    assert "u001b" in texts[-2]


@pytest.mark.slow
def test_a_schedule_may_begin_anew(workplace: Workplace, tmp_path: Path) -> None:
    arguments = [*SMALL, *data_of(workplace.data), "schedule=cosine", "schedule.warmup_steps=0", "output_dir=run"]
    assert run("train", *arguments, "trainer.max_steps=4", folder=tmp_path).code == 0

    def rates() -> list[float]:
        lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
        return [entry["train/learning_rate"] for entry in lines if "train/learning_rate" in entry]

    more = ["resume=auto"]
    assert run("train", *arguments, *more, "resume.schedule=restart", "trainer.max_steps=6", folder=tmp_path).code == 0
    restarted = rates()
    assert restarted[4] == pytest.approx(restarted[0])  # the full rate again
    assert run("train", *arguments, *more, "trainer.max_steps=8", folder=tmp_path).code == 0
    assert rates()[6] == pytest.approx(restarted[2])  # half of what is left since then: 6 of 4 to 8
