"""The report in a real browser: no error, nothing wider than the window, tables that sort."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from reporting_examples import HOSTILE, gallery, method, results

from segtrain.reporting.benchmark import write_report

BROWSER = next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium on the PATH (Debian: apt-get install chromium)"),
]
LONG = "a_method_with_a_name_that_nobody_would_choose_because_it_never_ends_" * 2

PROBE = """
<script>
addEventListener("load", () => {
  const first = document.querySelector("#headline table");
  const last = first.tHead.rows[0].cells[first.tHead.rows[0].cells.length - 1];
  const column = () => [...first.tBodies[0].rows].map((row) => row.cells[row.cells.length - 1].dataset.value);
  const press = () => { last.querySelector("button").click(); return [last.getAttribute("aria-sort"), column()]; };
  const wide = [...document.querySelectorAll("body *")]
    .filter((e) => !e.closest(".scroll, .skip") && e.getBoundingClientRect().right > innerWidth + 1)
    .map((e) => e.outerHTML.slice(0, 200));
  const before = getComputedStyle(document.body).backgroundColor;
  const sorted = [press(), press()];
  document.getElementById("theme").click();
  const legend = document.querySelector(".legend button");
  legend.click();
  const result = { width: innerWidth, page: document.documentElement.scrollWidth, wide, sorted,
    themes: [before, getComputedStyle(document.body).backgroundColor],
    bright: document.querySelectorAll(".pair .curve.on").length, shown: legend.dataset.series,
    figures: [...document.querySelectorAll("svg.figure")].filter((f) => f.getBoundingClientRect().width > 0).length };
  console.log("PROBE" + encodeURIComponent(JSON.stringify(result)) + "PROBE");
});
</script>
</body>
"""


def probe(folder: Path, page: Path, width: int) -> tuple[dict[str, Any], str]:
    """Open a page with the probe in it, ``width`` pixels wide; what it found and what the console said."""
    inner = folder / "probed.html"
    inner.write_text(page.read_text().replace("</body>", PROBE))
    # A window is at least 500 pixels wide, a frame may be as narrow as a phone.
    outer = folder / "frame.html"
    outer.write_text(f'<iframe src="probed.html" style="width: {width}px; height: 900px; border: 0"></iframe>')
    assert BROWSER is not None
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--window-size=1500,1000",
        f"--user-data-dir={folder / 'profile'}", "--dump-dom", "--virtual-time-budget=3000", outer.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=True, env={**os.environ, "LC_ALL": "C"}
    )
    found = re.search(r"PROBE(.*?)PROBE", done.stderr)
    assert found, done.stderr[-2000:]
    console = "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line and "PROBE" not in line)
    return json.loads(unquote(found[1])), console


@pytest.mark.parametrize("width", [360, 768, 1400])
def test_page_fits_and_works(tmp_path: Path, width: int) -> None:
    content = results(categories=("round", HOSTILE, LONG))
    content["methods"][LONG] = method(0.2, 0.004, ["round", HOSTILE, LONG], aware=True)
    content["command"] += f" predictions.x={LONG * 3}"
    page = write_report(tmp_path, content, gallery(file_name=f"{LONG}.png"))
    found, console = probe(tmp_path, page, width)
    assert console == ""
    assert found["width"] == width
    assert found["wide"] == []
    assert found["page"] <= width
    assert found["figures"] == 3  # one of the two layouts of the scatter plot, and both curves
    assert found["themes"][0] != found["themes"][1]
    assert (found["bright"], found["shown"]) == (2, "mask_rcnn")
    times = sorted([0.001, 0.004, 0.02, 0.2])
    (first, ascending), (second, descending) = found["sorted"]
    assert (first, second) == ("ascending", "descending")
    assert ascending == [*(str(t) for t in times), ""]
    assert descending == [*(str(t) for t in times[::-1]), ""]


def test_page_without_anything_has_no_script_error(tmp_path: Path) -> None:
    page = write_report(tmp_path, results({"kmeans": method(0.2, None, [], aware=False)}, categories=()), [])
    assert BROWSER is not None
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    done = subprocess.run(
        [*command, f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr
