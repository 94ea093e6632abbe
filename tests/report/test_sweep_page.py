"""The page of a sweep: every job is on it, what failed has its error, and nothing is drawn of what has no value."""

import json
from collections.abc import Sequence
from pathlib import Path

from segtrain.report.sweep_page import sweep_page
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
