"""Ten minutes of sound through the commands, in a process whose peak memory is looked at."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from frami_edge import checkpoints, networks
from frami_edge.card import Clip, TeacherCard
from frami_edge.exporters.onnx import export_onnx

RATE, MINUTES = 44100, 10
PEAK = """
import sys
from frami_edge.cli.main import app
from frami_edge.runtime.fresh import memory_mb
try:
    app(sys.argv[1:])
finally:
    print(f"peak {memory_mb():.0f}", file=sys.stderr)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that hears whole clips, and ten minutes of stereo: 212 MB as float32."""
    folder = tmp_path_factory.mktemp("long")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = networks.build("dscnn_s", 2, 40)
    card = TeacherCard(labels=("yes", "no"), time_dependent=False, clip=Clip(preparation="crop"))
    checkpoints.save(folder / "student.pt", network, card, {})
    export_onnx(folder / "student.pt", folder / "student.onnx")
    minute = np.random.default_rng(0).uniform(-0.3, 0.3, (RATE * 60, 2))
    with soundfile.SoundFile(folder / "long.wav", "w", RATE, 2, "PCM_16") as file:
        for _ in range(MINUTES):
            file.write(minute)
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize("command", [["predict"], ["listen", "--json"]])
def test_ten_minutes_take_no_gigabyte(folder: Path, command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", PEAK, *command, "student.onnx", "long.wav"], cwd=folder,
                          capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "yes" in done.stdout
    peak = float(done.stderr.rsplit("peak ", 1)[1])
    assert 20 < peak < 250
