"""Cells of `reproduce` with chosen answers, and recordings of tones, for the tests of what compares methods."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from frami_edge.reproduce.results import Result

N = 40
TEACHER = Result(
    key="k", recipe="digits/wrn40-teacher", group="digits", arm="teacher", kind="teacher", teacher="wrn40", student="",
    dataset="fsdd", test=["ann"], seed=0, budget="", values={}, labels=["no", "yes"],
    clips=[f"{clip}.wav" for clip in range(N)], truth=[1] * N, predicted=[1] * N, logits=[[0.0, 1.0]] * N,
    agreement=None, seconds=60.0, samples=None, verdict={}, model_sha256="m", teacher_sha256="t", version="1",
    compute="CPU")


def cell(arm: str, right: int, seed: int = 0) -> Result:
    return replace(TEACHER, arm=arm, kind="data-free", seed=seed, predicted=[1] * right + [0] * (N - right),
                   logits=[[0.0, 1.0]] * right + [[1.0, 0.0]] * (N - right))


def digits(folder: Path) -> Path:
    """A tone for each digit by each of ann and bob, 0.2 s at 8 kHz, in the layout of FSDD."""
    recordings = folder / "free-spoken-digit-dataset" / "recordings"
    recordings.mkdir(parents=True)
    for digit in range(10):
        for speaker in ("ann", "bob"):
            wave = 0.3 * np.sin(2 * np.pi * (200 + 150 * digit) * np.arange(1600) / 8000)
            soundfile.write(recordings / f"{digit}_{speaker}_0.wav", wave, 8000)
    return recordings.parent
