"""Reading only what a model keeps gives what reading everything gives."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from frami_edge import audio
from frami_edge.runtime.clips import prepare


@pytest.mark.parametrize("preparation", ["center-pad", "end-pad", "loop", "crop"])
@pytest.mark.parametrize(("rate", "samples"), [(16000, 50001), (44100, 99), (44100, 70000)])
def test_read_clip(tmp_path: Path, monkeypatch, preparation: str, rate: int, samples: int) -> None:
    monkeypatch.setattr(audio, "BLOCK", 1000)
    wave = np.random.default_rng(0).uniform(-1, 1, (samples, 2))
    soundfile.write(tmp_path / "a.wav", wave, rate, subtype="FLOAT")
    clip = {"sample_rate": 16000, "seconds": 0.5, "preparation": preparation}
    expected = prepare(audio.read(tmp_path / "a.wav", 16000), clip)
    np.testing.assert_array_equal(audio.read_clip(tmp_path / "a.wav", clip), expected)
