"""What a process of its own measures."""

from pathlib import Path

import numpy as np
import pytest

from frami_edge.runtime import fresh
from frami_edge.runtime.errors import FramiError


def test_figures_are_of_the_model_and_not_of_this_process(exported) -> None:
    ballast = np.ones(50_000_000)  # 400 MB that a child would inherit as its peak
    measured = fresh.measure(exported.model, 8000, 1)
    assert ballast[-1] == 1
    assert fresh.memory_mb() > 400
    assert 15 < measured.base_rss_mb < measured.peak_rss_mb < 300
    assert 0 < measured.cold_ms < 5000
    assert 0 < measured.load_ms < 5000
    assert measured.import_ms > measured.cold_ms / 100


def test_longer_clips_take_more_memory(exported) -> None:
    short, long = (fresh.measure(exported.model, samples, 1).peak_rss_mb for samples in (1600, 60 * 16000))
    assert long > short + 20


def test_a_model_that_cannot_run_says_why(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(FramiError, match="cannot be opened as an ONNX model|may be damaged"):
        fresh.measure(tmp_path / "model.onnx", 100, 1)


def test_modules_that_lie_about_are_not_imported(exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('this is not numpy')")
    monkeypatch.chdir(tmp_path)
    assert fresh.measure(exported.model, 1600, 1).cold_ms > 0
