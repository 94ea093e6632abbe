"""The package as a wheel installs it: commands in an empty folder, and a user's own options and network."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OWN_NETWORK = """
# python -m segtrain train segmenter=my_net
_target_: my_package.unet.UNet
_partial_: true
width: 4
"""


def clean_environment() -> dict[str, str]:
    """Environment variables without those that would find the sources."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Environment with the wheel and, from this one, its dependencies; returns its folder of programs."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"  # building writes beside the sources
    tree.mkdir()
    for name in ("segtrain", "configs"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", str(folder), str(tree)], check=True)
    (wheel,) = folder.glob("segtrain-*.whl")
    venv.create(folder / "venv", symlinks=True)
    (libraries,) = (folder / "venv" / "lib").glob("python*/site-packages")
    # Comes after the environment's own packages, and brings no editable installation with it.
    (libraries / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    install = [*pip, "--python", str(folder / "venv"), "install", "--no-deps", str(wheel)]
    subprocess.run(install, env=clean_environment(), check=True)
    return folder / "venv" / "bin"


def answer(installed: Path, folder: Path, *arguments: str, code: int = 0) -> str:
    """Run the command and return what it prints."""
    clean = clean_environment()
    finished = subprocess.run(
        [installed / "segtrain", *arguments], cwd=folder, env=clean, capture_output=True, text=True, check=False
    )
    assert finished.returncode == code, finished.stdout + finished.stderr
    return finished.stdout + finished.stderr


@pytest.mark.slow
def test_the_commands_run_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    clean = clean_environment()
    where = [installed / "python", "-c", "import segtrain; print(segtrain.__file__)"]
    origin = subprocess.run(where, cwd=tmp_path, env=clean, capture_output=True, text=True, check=True).stdout
    assert Path(origin.strip()).is_relative_to(installed.parent)
    assert answer(installed, tmp_path, "--version").startswith("segtrain 0.")
    answer(installed, tmp_path, "train", "trainer.max_steps=20", "output_dir=run")  # the demo's first steps
    (data,) = (tmp_path / "data").iterdir()
    pictures = data / "images" / "val"
    said = answer(installed, tmp_path, "check", str(data / "annotations" / "instances_val.json"), str(pictures))
    assert "0 errors" in said or "no error" in said
    answer(installed, tmp_path, "predict", "run", str(pictures), "--out", "found", "--score", "0.05")
    assert (tmp_path / "found" / "predictions.json").stat().st_size > 100
    answer(installed, tmp_path, "predict", "threshold_otsu", str(pictures), "--out", "otsu")
    assert "none is missing" in answer(installed, tmp_path, "export", "run", "network.pt", "--to", "torchvision")
    alone = "import sys; sys.modules['segtrain'] = None; import network; print(network.load_model()[1]['class_names'])"
    command = [installed / "python", "-c", alone]
    names = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True, check=True).stdout
    assert "round" in names


@pytest.mark.slow
def test_a_network_of_ones_own_needs_no_fork(installed: Path, tmp_path: Path) -> None:
    """Options in ``conf/`` beside the current folder, and a package that a checkpoint may name."""
    package, options = tmp_path / "my_package", tmp_path / "conf" / "segmenter"
    package.mkdir()
    (package / "__init__.py").touch()
    shutil.copy(ROOT / "tests" / "helpers" / "unet.py", package)
    options.mkdir(parents=True)
    (options / "my_net.yaml").write_text(OWN_NETWORK)
    short = ("data.generator.train_images=8", "data.generator.val_images=4", "trainer.max_steps=2")
    answer(installed, tmp_path, "train", "segmenter=my_net", *short, "output_dir=run")
    (data,) = (tmp_path / "data").iterdir()
    pictures = str(data / "images" / "val")
    refused = answer(installed, tmp_path, "predict", "run", pictures, "--out", "found", code=1)
    assert "my_package" in refused
    assert len(refused.splitlines()) == 1
    answer(installed, tmp_path, "predict", "run", pictures, "--out", "found", "--trust", "my_package")
    assert "Mask R-CNN alone" in answer(
        installed, tmp_path, "export", "run", "n.pt", "--to", "torchvision", "--trust", "my_package", code=1
    )
    few = ("methods=mask_rcnn", "checkpoint=run", "output_dir=report", "bootstrap.resamples=50")
    assert "trust" in answer(installed, tmp_path, "evaluate", *few, code=1)
    answer(installed, tmp_path, "evaluate", *few, "trust=[my_package]")
    assert (tmp_path / "report" / "report.html").exists()
