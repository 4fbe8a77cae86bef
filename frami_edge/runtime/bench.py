"""The benchmark: parity first, then what each model costs at each number of threads. docs/formats.md has the JSON."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from frami_edge.runtime import device, fresh, gates, golden, parity, workload
from frami_edge.runtime.compare import other_device
from frami_edge.runtime.errors import EXIT_CHECK_FAILED, EXIT_OK, EXIT_USAGE, FramiError
from frami_edge.runtime.graphs import up_to
from frami_edge.runtime.latency import interleave, summarise, times_as_fast
from frami_edge.runtime.report import as_text
from frami_edge.runtime.session import Model, is_ort_format, open_model, open_session, read_bytes

SCHEMA = 2
RUNS, LIMIT_SECONDS = 200, 60.0  # unless said otherwise
DEFAULT_MODEL = Path("student.onnx")
FRONTEND_ENDS_AT = golden.STAGES[0]

Array = np.ndarray[Any, np.dtype[Any]]
Told = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """How to measure."""

    threads: tuple[int, ...] = (1,)  # each is measured
    seconds: float | None = None  # of the clip; None: of the model's training clips
    runs: int | None = RUNS  # warm calls of each; None: as many as the time allows
    warmup: int = 10
    limit_seconds: float = LIMIT_SECONDS  # for the warm calls of all models together
    parity: bool = True
    profile: bool = False  # of every operator

    def __post_init__(self) -> None:
        positive = {"--threads": min(self.threads, default=0), "--runs": 1 if self.runs is None else self.runs,
                    "--limit and --duration": self.limit_seconds,
                    "--seconds": 1 if self.seconds is None else self.seconds, "--warmup": self.warmup + 1}
        for option, value in positive.items():
            if not 0 < value < math.inf:  # also nan
                raise FramiError(f"{option} is {'too small' if value <= 0 else 'no finite number'}.",
                                 "Give a number above 0.", exit_code=EXIT_USAGE)


def settings_of(*, threads: str, seconds: float | None, runs: int | None, warmup: int, limit: float | None,
                duration: float | None, no_parity: bool, profile: bool) -> Settings:
    """Settings from what was typed. ``duration`` asks for as many calls as fit into it, ``limit`` only ends them."""
    if duration is not None and (runs is not None or limit is not None):
        raise FramiError("--duration says how long to measure; --runs and --limit say how often.",
                         "Give one or the other.", exit_code=EXIT_USAGE)
    calls = None if duration is not None else RUNS if runs is None else runs
    most = duration if duration is not None else LIMIT_SECONDS if limit is None else limit
    return Settings(thread_counts(threads), seconds, calls, warmup, most, not no_parity, profile)


def thread_counts(text: str) -> tuple[int, ...]:
    """``"1,2,4"`` as numbers; ``"sweep"`` is 1, 2, 4, ... up to every core that may be used."""
    cores = device.usable_cores() or 1
    if text == "sweep":
        return tuple(sorted({cores, *(2**power for power in range(cores.bit_length()))}))
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise FramiError(f"--threads {text} is not a number, a list such as 1,2,4, or 'sweep'.",
                         exit_code=EXIT_USAGE) from error


@dataclass(frozen=True)
class Contender:
    """One model at one number of threads."""

    model: Model
    content: bytes
    threads: int
    samples: int

    @property
    def clip_seconds(self) -> float:
        return self.samples / self.model.metadata.sample_rate

    def label(self) -> str:
        return f"{self.model.path.name}, {self.threads} thread{'s' * (self.threads > 1)}"

    def calls(self) -> list[Callable[[], object]]:
        """The whole model, and its front-end alone where that can be cut out, on the same clip."""
        wave = workload.noise(self.samples)
        if is_ort_format(self.content):
            return [lambda: self.model.logits(wave)]
        begin = open_session(up_to(self.content, FRONTEND_ENDS_AT), f"the front-end of {self.model.path}", self.threads)
        return [lambda: self.model.logits(wave), lambda: begin.run([FRONTEND_ENDS_AT], {"waveform": wave})]


class Timed(NamedTuple):
    """Milliseconds of the rounds, (n,) each."""

    whole: Array
    frontend: Array | None  # ORT format: not known
    gemm: Array  # of one matrix product with the same number of threads


def run(paths: Sequence[Path], settings: Settings, told: Told = lambda line: None,
        limits: gates.Limits = gates.NO_LIMITS) -> dict[str, Any]:
    """Benchmark models against each other; the report as plain JSON values.

    Args:
        paths: ``.onnx`` files, their golden vectors beside them.
        settings: how to measure.
        told: called with a line of progress now and then.
        limits: what the figures must not exceed.

    Raises:
        FramiError: a model or its golden vectors cannot be used at all.
    """
    models, names = [], names_of(paths)
    for path, name in zip(paths, names, strict=True):
        told(f"{name}: parity" if settings.parity else f"{name}: opened, parity left out")
        models.append({"file": name} | _identify(path, settings))
    # a wrong model's speed is of no interest
    passed = all(model["parity"] is None or model["parity"]["passed"] for model in models)
    before = device.describe()
    contenders = [_contender(path, threads, settings) for path in paths for threads in settings.threads]
    each = len(settings.threads)
    for index, contender in enumerate(contenders):  # before all is measured, not after
        gates.refuse(limits, names[index // each], contender.threads, contender.clip_seconds, settings.runs)
    measured = _measure(contenders, settings, told) if passed else []
    for index, model in enumerate(models):
        model["runs"] = measured[index * each : (index + 1) * each]
    verdicts = gates.check(models, limits)
    if limits.baseline and (other := other_device(limits.baseline, {"device": before})):
        told("warning: the baseline is of another device, so --max-regression says little\n" + as_text(other))
    return {"schema": SCHEMA, "passed": passed and all(verdict["passed"] for verdict in verdicts), "device": before,
            "device_after": device.state(), "settings": asdict(settings), "models": models, "gates": verdicts}


def names_of(paths: Sequence[Path]) -> list[str]:
    """What the report calls each model: its file's name, or the whole path where two files have the same one.

    Raises:
        FramiError: the same file is there twice.
    """
    if len({path.resolve() for path in paths}) < len(paths):
        raise FramiError("A model is named twice.", "Name each once; --runs measures it longer.", exit_code=EXIT_USAGE)
    files = [path.name for path in paths]
    return [path.name if files.count(path.name) == 1 else path.as_posix() for path in paths]


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
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content),
            "model_type": metadata.model_type, "classes": len(metadata.labels), "sample_rate": metadata.sample_rate,
            "provenance": metadata.provenance, "parity": verdict}


def _contender(path: Path, threads: int, settings: Settings) -> Contender:
    model = open_model(path, threads)
    seconds = settings.seconds or model.metadata.clip["seconds"]
    return Contender(model, read_bytes(path), threads, max(1, round(seconds * model.metadata.sample_rate)))


def _measure(contenders: list[Contender], settings: Settings, told: Told) -> list[dict[str, Any]]:
    started = []
    for contender in contenders:
        told(f"{contender.label()}: load, cold run and memory in a process of its own")
        started.append(fresh.measure(contender.model.path, contender.samples, contender.threads))
    told(f"{len(contenders)} x {settings.runs or f'{settings.limit_seconds:g} s of'} warm calls, in turn")
    taken = _in_turn(contenders, settings)
    macs = {contender.model.path: _macs(contender)
            for contender in contenders if contender.threads == settings.threads[0]}
    return [_figures(contender, begin, timed, taken[0].whole, macs[contender.model.path], settings)
            for contender, begin, timed in zip(contenders, started, taken, strict=True)]


def _in_turn(contenders: list[Contender], settings: Settings) -> list[Timed]:
    """Every model, every front-end alone, and a matrix product for each number of threads, in each round."""
    models = [contender.calls() for contender in contenders]
    products = [workload.gemm(threads) for threads in settings.threads]
    taken = iter(interleave([*(call for calls in models for call in calls), *products], runs=settings.runs,
                            warmup=settings.warmup, limit_seconds=settings.limit_seconds))
    timed = [[next(taken) for _ in calls] for calls in models]
    gemm = dict(zip(settings.threads, taken, strict=True))
    return [Timed(whole, front[0] if front else None, gemm[contender.threads])
            for contender, (whole, *front) in zip(contenders, timed, strict=True)]


def _macs(contender: Contender) -> int | None:
    """Of one clip; not known in ORT format, which is optimised already, its int8 weights packed away."""
    if is_ort_format(contender.content):
        return None
    return workload.macs(contender.content, str(contender.model.path), contender.samples)


def _figures(contender: Contender, begin: fresh.Fresh, timed: Timed, first: Array, macs: int | None, settings: Settings
             ) -> dict[str, Any]:
    warm = summarise(timed.whole)
    clip_ms = 1000 * contender.clip_seconds
    memory = {key: None if np.isnan(getattr(begin, key)) else round(getattr(begin, key), 1)
              for key in ("peak_rss_mb", "base_rss_mb")}
    ratio, interval = times_as_fast(first, timed.whole)
    peak = workload.GEMM_MACS / float(np.median(timed.gemm)) / 1e6
    rate = None if macs is None else macs / warm.median_ms / 1e6
    frontend = None if timed.frontend is None else float(np.median(timed.frontend))
    figures = {
        "threads": contender.threads, "clip_seconds": contender.clip_seconds,
        "import_ms": begin.import_ms, "load_ms": begin.load_ms, "cold_ms": begin.cold_ms, **memory,
        "warm": {"n": warm.n, "mean_ms": warm.mean_ms, **{f"{p}_ms": ms for p, ms in warm.percentiles_ms.items()},
                 "p50_interval_ms": warm.median_interval_ms, "over_time_ms": warm.over_time_ms, "drift": warm.drift},
        "times_as_fast_as_first": ratio, "times_as_fast_interval": interval,
        "frontend_ms": frontend, "frontend_share": None if frontend is None else frontend / warm.median_ms,
        "macs": macs, "gmacs_per_second": rate, "gemm_gmacs_per_second": peak,
        "share_of_gemm": None if rate is None else rate / peak,
        "real_time_factor": warm.median_ms / clip_ms,  # below 1: faster than the sound lasts
        "clips_per_second": 1000 / warm.mean_ms,
    }
    if settings.profile:
        nodes = workload.profile(contender.content, str(contender.model.path), contender.samples, contender.threads)
        figures["profile"] = [asdict(node) for node in nodes]
    return figures
