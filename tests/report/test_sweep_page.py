"""The page of a sweep: every job is on it, what failed has its error, and nothing is drawn of what has no value."""

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from segtrain.report.sweep_page import sweep_page
from segtrain.report.sweep_table import SweepTable, csv_text
from segtrain.training.sweep_journal import SweepJob


def jobs(folder: Path, values: Sequence[float | None]) -> list[SweepJob]:
    for number in range(len(values)):
        (folder / str(number)).mkdir()
        entries = [{"step": step, "validation/mask_ap": step / 100, "train/minutes": step} for step in (10, 20)]
        (folder / str(number) / "metrics.jsonl").write_text("\n".join(map(json.dumps, entries)))
    return [
        SweepJob(number, [f"optimizer.lr=1e-{2 + number // 2}", f"seed={number % 2}", "x=<b>"],
                 "failed" if value is None else "finished", str(number), value, 1.0,
                 "no <file>" if value is None else None)
        for number, value in enumerate(values)
    ]  # fmt: skip


def test_settings_jobs_and_curves_are_shown(tmp_path: Path) -> None:
    page = sweep_page(tmp_path, jobs(tmp_path, [0.1, 0.2, 0.4, None]))
    assert page.index("lr=1e-3</span>") < page.index("lr=1e-2</span>")  # the best first
    assert '<strong class="mark">0.400</strong>' in page
    assert "no &lt;file&gt;" in page
    assert page.count('class="figure wide"') == page.count('class="figure narrow"') == 1
    parallel = page[page.index('class="figure wide"') : page.index('class="figure narrow"')]
    assert parallel.count('class="curve"') == 3  # the failed job has no value
    assert "Quality of the best" in page
    assert "<b>" not in page


def test_a_sweep_without_any_value_has_a_page(tmp_path: Path) -> None:
    page = sweep_page(tmp_path, jobs(tmp_path, [None, None]))
    assert "2 failed" in page
    assert 'id="coordinates"' not in page


def test_a_search_shows_every_value_and_the_best_finished_one(tmp_path: Path) -> None:
    found = [replace(job, drawn=True) for job in jobs(tmp_path, [0.1, 0.4, 0.3, None])]
    found[1] = replace(found[1], state="pruned")
    page = sweep_page(tmp_path, found)
    section = page[page.index('<section id="search">') : page.index('<section id="coordinates">')]
    assert "Best so far: job 2 with 0.300 (lr=1e-3 seed=0)" in section
    wide = section[section.index('class="figure wide"') : section.index('class="figure narrow"')]
    assert (wide.count('class="point"'), wide.count('class="point ring"')) == (2, 1)
    assert 'id="summary"' not in page  # each job has settings of its own
    losses = [replace(job, monitor="loss") for job in found]
    assert "Best so far: job 0 with 0.100" in sweep_page(tmp_path, losses)


def test_tables_rank_by_the_number_that_the_trainings_follow(tmp_path: Path) -> None:
    losses = [replace(job, monitor="loss") for job in jobs(tmp_path, [0.1, 0.2, 0.4, 0.3])]
    page = sweep_page(tmp_path, losses)
    assert page.index("lr=1e-2</span>") < page.index("lr=1e-3</span>")  # the lowest first
    assert "mean and standard deviation (n − 1) of the best validation loss" in page
    assert '<strong class="mark">0.150</strong>' in page
    drawn = page[page.index('<section id="coordinates">') : page.index('<section id="jobs">')]
    assert ">validation loss</text>" in drawn
    assert csv_text(losses).splitlines()[0].split(",")[:4] == ["job", "optimizer.lr", "seed", "loss"]
    assert [line.split(",")[0] for line in csv_text(losses).splitlines()[1:]] == ["0", "1", "2", "3"]
    assert printed(losses, 80)[2].split("   ") == ["  lr", "  validation loss", "minutes", "state"]


def printed(found: Sequence[SweepJob], width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(SweepTable(found))
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_a_narrow_terminal_shows_the_settings_in_one_column() -> None:
    keys = ["optimizer.weight_decay", "trainer.ema_decay", "segmenter.rois_per_image", "augmentation"]
    found = [SweepJob(n, [f"{key}=0.{n}123456" for key in keys], "finished", str(n), n / 10) for n in range(2)]
    lines = printed(found, 80)
    assert lines[2].split() == ["settings", "mask", "AP", "minutes", "state"]
    assert "  weight_decay=0.1123456 ema_decay=0.1123456" in lines[4]
    assert lines[4].split()[-4:] == ["0.100", "0.0", "1", "finished"]
    assert printed(found, 120)[2].split()[:3] == ["weight_decay", "ema_decay", "rois_per_image"]
    alike = [SweepJob(n, [f"seed={n}"], "finished", str(n), 0.5) for n in range(2)]
    assert "  all alike" in printed(alike, 80)[4]
