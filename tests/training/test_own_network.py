"""A network of one's own: one module and one YAML file, from training to the benchmark."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from segtrain.segmenters import Segmenter, Trainable
from segtrain.training.checkpoint import load_checkpoint, load_segmenter
from tests.helpers.scripts import ROOT, SHORT_RUN, data_of, message, run, write_data
from tests.helpers.tiny_networks import CLASSES, picture, tiny
from tests.helpers.unet import UNet

UNET = [f"--config-dir={ROOT / 'tests' / 'helpers' / 'configs'}", "segmenter=unet"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set, and a run of 30 steps in it."""
    folder = tmp_path_factory.mktemp("own")
    arguments = [*data_of(write_data(folder / "data")), *SHORT_RUN, "trainer.max_steps=30", "optimizer.lr=0.01"]
    finished = run(
        "train", *UNET, *arguments, "trainer.ema_decay=0.9", "score_threshold=auto", "output_dir=run", folder=folder
    )
    assert (finished.code, finished.err) == (0, "")
    assert "U-Net: 0.0 M parameters learn; fp32 on cpu, 1 thread\n" in finished.out
    return folder


def test_it_learns(trained: Path) -> None:
    entries = [json.loads(line) for line in (trained / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [entry["train/loss_pixels"] for entry in entries if "train/loss_pixels" in entry]
    assert len(losses) == 30
    assert losses[-1] < losses[0] / 2
    assert load_checkpoint(trained / "run" / "checkpoints" / "best.pt").metrics["mask_ap"] > 0.1


@pytest.mark.slow
def test_it_goes_on_to_the_bit(trained: Path, tmp_path: Path) -> None:
    arguments = [
        *data_of(trained / "data"),
        *SHORT_RUN,
        "trainer.epochs=4",
        "trainer.max_steps=null",
        "trainer.ema_decay=0.9",
    ]
    constant = ["schedule=constant", "schedule.warmup_steps=0"]  # does not depend on where training ends
    for name, more in (
        ("whole", []),
        ("part", ["trainer.epochs=2"]),
        ("rest", ["resume=part/checkpoints/last.pt"]),
    ):
        finished = run("train", *UNET, *arguments, *constant, *more, f"output_dir={name}", folder=tmp_path)
        assert (finished.code, finished.err) == (0, "")
    whole, rest = (load_checkpoint(tmp_path / name / "checkpoints" / "last.pt") for name in ("whole", "rest"))
    assert whole.training is not None
    assert rest.training is not None
    assert whole.step == rest.step == 12
    for first, second in ((whole.model, rest.model), (whole.training["model"], rest.training["model"])):
        assert all(torch.equal(value, second[name]) for name, value in first.items())
    other = ["segmenter.width=4", "resume=part/checkpoints/last.pt", "output_dir=other"]
    text = message(run("train", *UNET, *arguments, *other, folder=tmp_path))
    assert "its segmenter.width is 8, this run's is 4" in text


def test_it_is_benchmarked(trained: Path) -> None:
    arguments = ["methods=mask_rcnn", "checkpoint=run/checkpoints/best.pt", "gallery=0", "threads=1"]
    text = message(run("evaluate", *arguments, "output_dir=refused", folder=trained))
    assert "'tests.helpers.unet.UNet'" in text
    assert text.endswith(
        "then name the package on the command line: 'trust=[tests]' (--trust tests for predict and export)"
    )
    finished = run("evaluate", *arguments, "trust=[tests]", "output_dir=report", folder=trained)
    assert (finished.code, finished.err) == (0, "")
    results = json.loads((trained / "report" / "results.json").read_text())
    row = results["methods"]["mask_rcnn"]
    assert "technique" not in row
    assert results["mask_ceiling"] is None  # it is no Mask R-CNN, whatever its row is called
    assert "Mask R-CNN's limits" not in (trained / "report" / "report.md").read_text()
    best = load_checkpoint(trained / "run" / "checkpoints" / "best.pt")
    assert row["description"].startswith("Fine-tuned U-Net, its score threshold chosen on 5 training images")
    assert row["class_aware"]["mask_ap"] == pytest.approx(best.metrics["mask_ap"], abs=1e-12)
    assert row["score_threshold"] == best.score_threshold


def test_it_is_loaded_in_python(trained: Path) -> None:
    network = load_segmenter(trained / "run" / "checkpoints" / "best.pt", trust=["tests.helpers"])
    assert isinstance(network, UNet)
    assert isinstance(network, Segmenter)
    assert not network.training


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("process_group")
@pytest.mark.parametrize(
    "build", [lambda: tiny(norm="batch"), lambda: UNet(CLASSES, width=4)], ids=["mask_rcnn", "unet"]
)
def test_several_processes_can_hold_it(build: Callable[[], Trainable]) -> None:
    """Wrapped for one process, a network has the losses and gradients that it has alone."""
    batch = [picture(seed, 64, 64, 2) for seed in range(2)]
    images, targets = [image for image, _ in batch], [target for _, target in batch]
    results = []
    for wrap in (lambda network: network, DistributedDataParallel):
        torch.manual_seed(0)
        network = build().train()
        torch.manual_seed(1)
        losses = wrap(network)(images, targets)
        torch.stack(list(losses.values())).sum().backward()
        gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
        results.append(({name: value.detach() for name, value in losses.items()}, gradients))
    (alone, own), (wrapped, shared) = results
    assert alone == wrapped
    assert own.keys() == shared.keys()
    for name, gradient in own.items():
        torch.testing.assert_close(shared[name], gradient)
