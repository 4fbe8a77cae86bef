"""The benchmark: parity first, then what each model costs at each number of threads. docs/formats.md has the JSON."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frami_edge.runtime import device, fresh, golden, parity
from frami_edge.runtime.errors import EXIT_CHECK_FAILED, EXIT_OK, EXIT_USAGE, FramiError
from frami_edge.runtime.latency import interleave, summarise
from frami_edge.runtime.session import Model, open_model, read_bytes

SCHEMA = 1
DEFAULT_MODEL = Path("student.onnx")


@dataclass(frozen=True)
class Settings:
    """How to measure."""

    threads: tuple[int, ...] = (1,)  # each is measured
    seconds: float | None = None  # of the clip; None: of the model's training clips
    runs: int = 200
    warmup: int = 10
    limit_seconds: float = 60.0  # for the warm calls of all models together
    parity: bool = True

    def __post_init__(self) -> None:
        positive = {"--threads": min(self.threads, default=0), "--runs": self.runs, "--limit": self.limit_seconds,
                    "--seconds": 1 if self.seconds is None else self.seconds, "--warmup": self.warmup + 1}
        for option, value in positive.items():
            if value <= 0:
                raise FramiError(f"{option} is too small.", "Give a number above 0.", exit_code=EXIT_USAGE)


def thread_counts(text: str) -> tuple[int, ...]:
    """``"1,2,4"`` as numbers."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise FramiError(f"--threads {text} is not a number or a list such as 1,2,4.", exit_code=EXIT_USAGE) from error


@dataclass(frozen=True)
class Contender:
    """One model at one number of threads."""

    model: Model
    threads: int
    samples: int

    def label(self) -> str:
        return f"{self.model.path.name}, {self.threads} thread{'s' * (self.threads > 1)}"


def run(paths: Sequence[Path], settings: Settings, told: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """Benchmark models against each other; the report as plain JSON values.

    Args:
        paths: ``.onnx`` files, their golden vectors beside them.
        settings: how to measure.
        told: called with a line of progress now and then.

    Raises:
        FramiError: a model or its golden vectors cannot be used at all.
    """
    models = []
    for path in paths:
        told(f"{path.name}: parity" if settings.parity else f"{path.name}: opened, parity left out")
        models.append(_identify(path, settings))
    # a wrong model's speed is of no interest
    passed = all(model["parity"] is None or model["parity"]["passed"] for model in models)
    contenders = [_contender(path, threads, settings) for path in paths for threads in settings.threads]
    measured = _measure(contenders, settings, told) if passed else []
    each = len(settings.threads)
    for index, model in enumerate(models):
        model["runs"] = measured[index * each : (index + 1) * each]
    return {"schema": SCHEMA, "passed": passed, "device": device.describe(), "settings": asdict(settings),
            "models": models}


def exit_code(report: dict[str, Any]) -> int:
    return EXIT_OK if report["passed"] else EXIT_CHECK_FAILED


def _identify(path: Path, settings: Settings) -> dict[str, Any]:
    """Which model it is, with the verdict on its parity."""
    content = read_bytes(path)
    metadata = open_model(path).metadata
    verdict = None
    if settings.parity:
        vectors = golden.read(golden.path_beside(path))
        student = metadata.provenance.get("student_sha256")
        if vectors.student_sha256 != student:
            raise FramiError(f"{golden.path_beside(path)} belongs to another student than {path}.",
                             "Copy both files from the same export.")
        verdict = parity.check(content, vectors, str(path), max(settings.threads)).as_dict()
    return {"file": path.name, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content),
            "model_type": metadata.model_type, "classes": len(metadata.labels), "sample_rate": metadata.sample_rate,
            "provenance": metadata.provenance, "parity": verdict}


def _contender(path: Path, threads: int, settings: Settings) -> Contender:
    model = open_model(path, threads)
    seconds = settings.seconds or model.metadata.clip["seconds"]
    return Contender(model, threads, max(1, round(seconds * model.metadata.sample_rate)))


def _measure(contenders: list[Contender], settings: Settings, told: Callable[[str], None]) -> list[dict[str, Any]]:
    started = []
    for contender in contenders:
        told(f"{contender.label()}: load, cold run and memory in a process of its own")
        started.append(fresh.measure(contender.model.path, contender.samples, contender.threads))
    told(f"{len(contenders)} x {settings.runs} warm calls, in turn")
    taken = interleave([_call(contender) for contender in contenders], runs=settings.runs, warmup=settings.warmup,
                       limit_seconds=settings.limit_seconds)
    return [_figures(contender, begin, milliseconds)
            for contender, begin, milliseconds in zip(contenders, started, taken, strict=True)]


def _call(contender: Contender) -> Callable[[], object]:
    noise = np.random.default_rng(0).standard_normal((1, contender.samples))
    wave = (0.1 * noise).astype(np.float32)
    return lambda: contender.model.logits(wave)


def _figures(contender: Contender, begin: fresh.Fresh, milliseconds: np.ndarray[Any, Any]) -> dict[str, Any]:
    warm = summarise(milliseconds)
    clip_ms = 1000 * contender.samples / contender.model.metadata.sample_rate
    memory = {key: None if np.isnan(getattr(begin, key)) else round(getattr(begin, key), 1)
              for key in ("peak_rss_mb", "base_rss_mb")}
    return {
        "threads": contender.threads, "clip_seconds": clip_ms / 1000,
        "import_ms": begin.import_ms, "load_ms": begin.load_ms, "cold_ms": begin.cold_ms, **memory,
        "warm": {"n": warm.n, "mean_ms": warm.mean_ms, **{f"{p}_ms": ms for p, ms in warm.percentiles_ms.items()},
                 "drift": warm.drift},
        "real_time_factor": warm.median_ms / clip_ms,  # below 1: faster than the sound lasts
        "clips_per_second": 1000 / warm.mean_ms,
    }
