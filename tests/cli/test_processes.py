"""Commands under ``torchrun``: one run, one writer, one line for an error."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed import HashStore

from segtrain import distributed
from segtrain.cli.processes import continued, program_of, remember
from segtrain.io import write_atomically
from tests.helpers.processes import finished, torchrun, wait_until, workers_of
from tests.helpers.scripts import SMALL_NETWORK, data_of, run, write_data

# Every anchor and every region counts, so that nothing depends on the draws of a process.
ALL_DRAWN = ["segmenter.rpn_anchors_per_image=100000", "segmenter.rois_per_image=1000", "segmenter.positive_fraction=1"]
RUN = [
    *SMALL_NETWORK, *ALL_DRAWN, "segmenter.norm=frozen", "trainer.workers=0", "trainer.log_every=1", "threads=1",
    "trainer.precision=fp32", "trainer.epochs=null", "trainer.validate_every=null", "trainer.validation_images=0",
    "score_threshold=0.5", "data.check=off",
]  # fmt: skip


def entries(run_folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]


def state(run_folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(run_folder / "checkpoints" / "last.pt")
    return loaded


def lines_of(out: str, start: str) -> list[str]:
    return [line for line in out.splitlines() if line.startswith(start)]


def test_the_command_that_goes_on_names_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    assert " ".join(program_of(("python", "train.py"))) == "torchrun --nnodes=2 --nproc_per_node=4 train.py"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    words = "torchrun --nproc_per_node=8 --no-python segtrain train"
    assert " ".join(program_of(("segtrain", "train"))) == words


def test_a_run_is_not_taken_for_the_one_that_it_replaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is started again before it has saved anything."""
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(distributed, "_store", HashStore())
    last = tmp_path / "checkpoints" / "last.pt"
    write_atomically(last, "of the earlier run")
    arguments = ["overwrite=true", f"output_dir={tmp_path}"]
    for _ in range(2):
        assert continued(arguments) == arguments
        remember(tmp_path)
    write_atomically(last, "of this run")
    remember(tmp_path)
    assert continued(arguments) == [*arguments, "resume=auto"]


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """20 steps on 9 images in batches of 4: the last batch of an epoch has one image, so that a process has none."""
    data = data_of(write_data(tmp_path / "data", 9))
    steps = [*RUN, *data, "trainer.max_steps=20"]
    assert run("train", *steps, "trainer.batch_size=4", "output_dir=one", folder=tmp_path).code == 0
    code, out = finished(torchrun("train", *steps, "trainer.batch_size=2", folder=tmp_path))
    assert code == 0, out
    assert len(lines_of(out, "run folder: ")) == 1
    (folder,) = (tmp_path / "runs" / "train").iterdir()
    one, two = entries(tmp_path / "one"), entries(folder)
    assert [entry["step"] for entry in two] == [entry["step"] for entry in one]
    for alone, shared in zip(one[:20], two[:20], strict=True):
        for name in (name for name in alone if name.startswith("train/loss") or name == "train/learning_rate"):
            assert shared[name] == pytest.approx(alone[name], rel=1e-5), (alone["step"], name)
    weights, others = state(tmp_path / "one")["model"], state(folder)["model"]
    for name, value in weights.items():
        torch.testing.assert_close(others[name], value, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.slow
def test_two_processes_evaluate_as_one(tmp_path: Path) -> None:
    data = data_of(write_data(tmp_path / "data", 5))
    assert run("train", *RUN, *data, "trainer.max_steps=4", "output_dir=run", folder=tmp_path).code == 0
    rows = [
        "methods=tuned",
        "+segmenter@segmenters.mask_rcnn=checkpoint",
        "+segmenter@segmenters.best=threshold_oracle",
    ]
    given = ["checkpoint=run", *rows, "threads=1", "tune.trials=4", "tune.seconds=null", "bootstrap.resamples=0"]
    assert run("evaluate", *given, "output_dir=one", folder=tmp_path).code == 0
    code, out = finished(torchrun("evaluate", *given, "output_dir=two", folder=tmp_path))
    assert code == 0, out
    written = sorted(path.name for path in (tmp_path / "one" / "predictions").iterdir())
    assert written == sorted(path.name for path in (tmp_path / "two" / "predictions").iterdir())
    for name in written:
        one, two = ((tmp_path / folder / "predictions" / name).read_bytes() for folder in ("one", "two"))
        assert one == two, name
    results = [json.loads((tmp_path / folder / "results.json").read_text()) for folder in ("one", "two")]
    assert results[1]["environment"]["processes"] == 2
    for name, method in results[0]["methods"].items():
        other = results[1]["methods"][name]
        for part in method.keys() - {"costs", "timing"}:
            assert json.dumps(other[part]) == json.dumps(method[part]), (name, part)


@pytest.mark.slow
def test_a_lost_process_is_started_again_from_the_last_state(tmp_path: Path) -> None:
    data = data_of(write_data(tmp_path / "data", 9))
    steps = [*RUN, *data, "trainer.max_steps=60", "trainer.checkpoint_minutes=0.01", "trainer.batch_size=2"]
    assert finished(torchrun("train", *steps, "output_dir=whole", folder=tmp_path))[0] == 0
    options = ("--nproc_per_node=2", "--max-restarts=1")
    process = torchrun("train", *steps, folder=tmp_path, options=options)
    wait_until(lambda: [p for p in (tmp_path / "runs").rglob("metrics.jsonl") if len(p.read_bytes().splitlines()) > 9])
    workers_of(process, "train")[1].kill()
    code, out = finished(process)
    assert code == 0, out
    # The process that is left notices the loss, or is told to end by torchrun, which has noticed it first.
    (line,) = [*lines_of(out, "error: "), *lines_of(out, "interrupted")]
    if line != "interrupted":
        assert line.startswith("error: another process of this run has ended or cannot be reached (killed,")
        assert line.endswith("torchrun starts all again")
    assert lines_of(out, "resuming ")
    (folder,) = (tmp_path / "runs" / "train").iterdir()
    whole, again = state(tmp_path / "whole")["model"], state(folder)["model"]
    assert all(torch.equal(again[name], value) for name, value in whole.items())
    assert [e["step"] for e in entries(folder)] == [e["step"] for e in entries(tmp_path / "whole")]


@pytest.mark.slow
def test_an_error_of_one_process_ends_all_with_one_line(tmp_path: Path) -> None:
    root = write_data(tmp_path / "data", 9)
    for number in (6, 7, 8, 9):
        (root / "train" / f"{number}.png").write_text("broken")
    given = [*RUN, *data_of(root), "trainer.max_steps=20", "trainer.batch_size=1", "trainer.preview_images=1"]
    code, out = finished(torchrun("train", *given, "output_dir=run", folder=tmp_path))
    assert code == 1
    (line,) = lines_of(out, "error: ")
    assert "cannot read the image" in line
    assert "segtrain/" not in out.partition("torch.distributed.elastic")[0]  # no traceback of ours
    code, out = finished(torchrun("train", "trainer.batch_size=0", folder=tmp_path))
    assert (code, lines_of(out, "error: ")) == (1, ["error: trainer.batch_size=0: give auto or a whole number from 1"])


@pytest.mark.slow
def test_a_signal_saves_and_another_number_of_processes_goes_on(tmp_path: Path) -> None:
    data = data_of(write_data(tmp_path / "data", 9))
    given = [*RUN, *data, "trainer.batch_size=2", "output_dir=run"]
    process = torchrun("train", *given, "trainer.max_steps=100000", folder=tmp_path)
    wait_until((tmp_path / "run" / "metrics.jsonl").exists)
    os.kill(process.pid, signal.SIGTERM)
    _, out = finished(process)
    (line,) = lines_of(out, "stopped at step ")
    assert "go on with: torchrun --nproc_per_node=2 train.py" in line
    step = state(tmp_path / "run")["step"]
    assert line.startswith(f"stopped at step {step};")
    resumed = run("train", *given, f"trainer.max_steps={step + 5}", "resume=auto", folder=tmp_path)
    assert resumed.code == 0, resumed.err
    assert "processes: 2 before, 1 from here on" in resumed.out
    assert [e["step"] for e in entries(tmp_path / "run") if "train/loss" in e] == list(range(1, step + 6))
