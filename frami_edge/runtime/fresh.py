"""Load time, cold run and memory of a model: measured in a process of its own, which has done nothing else.

    python -m frami_edge.runtime.fresh MODEL SAMPLES THREADS

prints one line of JSON. In the process that benchmarks, ONNX Runtime is warm and the peak memory is that of
whatever was largest before.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import frami_edge
from frami_edge.runtime.errors import FramiError

TIMEOUT_SECONDS = 300
OWN_PACKAGES = ("-P", "-m")  # a module, but none of those that happen to lie in the folder where we were started


@dataclass(frozen=True)
class Fresh:
    """What the new process measured."""

    import_ms: float  # numpy and onnxruntime
    load_ms: float  # file to session, graph optimisation included
    cold_ms: float  # first call
    peak_rss_mb: float  # of the process after a few calls, 10^6 bytes
    base_rss_mb: float  # before the model was loaded


def measure(model: Path, samples: int, threads: int) -> Fresh:
    """Measure ``model`` on one clip of ``samples`` samples in a new process."""
    command = [sys.executable, *OWN_PACKAGES, "frami_edge.runtime.fresh", str(model), str(samples), str(threads)]
    try:
        done = subprocess.run(command, env={**os.environ, "PYTHONPATH": own_path()}, check=False, capture_output=True,
                              text=True, timeout=TIMEOUT_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FramiError(f"Cannot measure {model} in a process of its own: {error}") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise FramiError(f"{model} fails in a process of its own (exit code {done.returncode}): {last}",
                         "A negative exit code is a signal; -9 often means that memory ran out.")
    return Fresh(**json.loads(done.stdout))


def own_path() -> str:
    """The PYTHONPATH by which a new process finds this very package, wherever and however it lies on the path."""
    root = str(Path(frami_edge.__path__[0]).parent)
    return os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])


def memory_mb() -> float:
    """Peak resident memory of this process so far, in 10^6 bytes; NaN where the system does not tell (Windows)."""
    with contextlib.suppress(OSError, StopIteration):
        # not ru_maxrss: on Linux a process starts with that of the one it was started by
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024 / 1e6
    try:
        import resource
    except ImportError:
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def _main(model: str, samples: int, threads: int) -> None:
    started = time.perf_counter()
    import numpy as np

    from frami_edge.runtime.session import open_model

    imported = time.perf_counter()
    base = memory_mb()
    wave = (0.1 * np.random.default_rng(0).standard_normal((1, samples))).astype(np.float32)
    before = time.perf_counter()
    opened = open_model(Path(model), threads)
    loaded = time.perf_counter()
    opened.logits(wave)
    cold = time.perf_counter()
    for _ in range(3):
        opened.logits(wave)
    print(json.dumps(vars(Fresh(1000 * (imported - started), 1000 * (loaded - before), 1000 * (cold - loaded),
                                memory_mb(), base))))


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
