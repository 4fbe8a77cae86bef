"""What pip installs: the wheel holds every file under its right name, and a device needs no torch."""

import json
import re
import shutil
import subprocess
import sys
import venv
import wave
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from frami_edge import checkpoints, networks
from frami_edge.card import Clip, TeacherCard
from frami_edge.exporters.onnx import export_onnx

ROOT = Path(__file__).parents[1]
SOURCES = {"frami_edge": "frami_edge", "exporters": "frami_edge/exporters", "recipes": "frami_edge/recipes"}
SHIPPED = (".py", ".toml", ".pt", ".md", ".html", ".typed")
CARD = TeacherCard(labels=("cat", "dog", "rain"), time_dependent=False, clip=Clip(seconds=0.5, preparation="loop"))


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: building leaves folders beside the sources."""
    copy = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    built = run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", copy / "dist", copy,
                cwd=copy)
    assert built.returncode == 0, built.stderr
    return next((copy / "dist").glob("frami_edge-*.whl"))


def test_every_file_is_in_the_wheel_under_its_name(wheel: Path) -> None:
    expected = {f"{target}/{path.relative_to(ROOT / source)}" for source, target in SOURCES.items()
                for path in (ROOT / source).rglob("*") if path.suffix in SHIPPED}
    names = set(zipfile.ZipFile(wheel).namelist())
    assert expected - names == set()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"frami_edge"}
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_teacher_of_the_demo_is_small(wheel: Path) -> None:
    assert zipfile.ZipFile(wheel).getinfo("frami_edge/demo/teacher.pt").file_size <= 2e6


def test_sources_use_the_installed_names() -> None:
    # from the root of a checkout `exporters` can be imported too, as a second copy of every module
    wrong = re.compile(r"^\s*(from|import) (exporters|recipes)\b", re.MULTILINE)
    for folder in (*SOURCES, "tests", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not wrong.search(path.read_text(encoding="utf-8")), path


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported student in a folder of its own, with a recording beside it."""
    folder = tmp_path_factory.mktemp("device")
    torch.manual_seed(0)
    network = networks.build("wrn16", CARD.classes)
    network.train()(3 * torch.randn(8, 40, 50))  # BatchNorms that have seen a batch
    checkpoints.save(folder / "student.pt", network.eval(), CARD, {})
    export_onnx(folder / "student.pt", folder / "student.onnx")
    (folder / "student.pt").unlink()
    sound = np.sin(2 * np.pi * 440 * np.arange(22050) / 44100)
    with wave.open(str(folder / "tone.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(44100)
        file.writeframes(np.repeat((sound * 16000).astype("<i2"), 2).tobytes())
    return folder / "student.onnx"


@pytest.fixture(scope="module")
def device(wheel: Path, student: Path,
           tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a program of a virtual environment that has the wheel and what it depends on, beside the student."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=True)
    programs = folder / ("Scripts" if sys.platform == "win32" else "bin")
    constraints = ROOT / "constraints.txt"
    probe = run(programs / "python", "-m", "pip", "download", "--no-deps", "-d", folder, "-c", constraints, "typer",
                cwd=folder)
    if probe.returncode:
        pytest.skip(f"pip cannot reach its index: {probe.stderr.strip().splitlines()[-1]}")
    installed = run(programs / "python", "-m", "pip", "install", "-c", constraints, wheel, cwd=folder)
    assert installed.returncode == 0, installed.stderr
    return lambda program, *arguments: run(programs / program, *arguments, cwd=student.parent)


def test_the_environment_has_neither_torch_nor_top_level_exporters(device: Callable) -> None:
    for name in ("torch", "onnx", "exporters", "recipes"):
        tried = device("python", "-c", f"import {name}")
        assert f"No module named '{name}'" in tried.stderr
    recipes = device("python", "-c", "from frami_edge import recipe; print(recipe.load('quick').inversion.method)")
    assert recipes.stdout == "frami\n", recipes.stderr
    exporters = device("python", "-c", "from frami_edge import exporters; print(exporters.names())")
    assert exporters.stdout == "['onnx']\n", exporters.stderr


def test_bench_without_torch(device: Callable) -> None:
    done = device("frami-edge", "bench", "--json", "--runs", "20")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["passed"] and report["models"][0]["parity"]["passed"]
    assert report["models"][0]["runs"][0]["warm"]["n"] == 20


def test_predict_without_torch(device: Callable) -> None:
    done = device("frami-edge", "predict", "student.onnx", "tone.wav", "--json")
    assert done.returncode == 0, done.stderr
    labels = json.loads(done.stdout)["labels"]
    assert {entry["label"] for entry in labels} == set(CARD.labels)
    assert sum(entry["probability"] for entry in labels) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("command", [("networks",), ("export", "student.pt"), ("distill", "teacher.pt"), ("demo",)])
def test_what_needs_torch_says_how_to_get_it(device: Callable, command: tuple[str, ...]) -> None:
    done = device("frami-edge", *command)
    assert done.returncode == 3 and done.stdout == ""
    assert re.search("needs (torch|onnx),", done.stderr) and "frami-edge[distill]" in done.stderr
