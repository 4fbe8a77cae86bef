"""Opens thousands of damaged and hostile files, and counts what comes of it.

    python benchmarks/fuzz_opening.py --files 10000

Each file is opened as `frami-edge distill FILE` does, without --trust, in a worker process with 10 seconds of processor
time (a minute by the clock, for what waits) and 2 GiB of memory beyond what the worker has at its start. What may come
of it: the file opens (damage may hit what does not matter, or a weight); it is refused by a FramiError; any other
exception (a traceback for the user); no end; no memory; a worker that dies; code of the file that ran. All but the
first two are faults; the exit code is 1 if there are any.
"""

import argparse
import collections
import multiprocessing
import multiprocessing.connection
import os
import resource
import shutil
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import hostile_files
import hostile_whole

SECONDS, CLOCK_SECONDS, BYTES = 10, 60, 2 * 2**30
OPENED, REFUSED, TRACEBACK, HANG, MEMORY, DIED, CODE = OUTCOMES = (
    "opened", "refused", "traceback", "hang", "memory", "died", "code run")
FAULTS = OUTCOMES[2:]
FORBIDDEN = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "socket.connect", "os.mkdir")
ARCH = f"{hostile_whole.__file__}:build"


def work(pipe: Connection, card: Path) -> None:
    """A worker: receives paths, sends (outcome, message)."""
    from frami_edge.teacher.opening import open_teacher

    noticed: list[str] = []
    sys.addaudithook(lambda event, _: noticed.append(event) if event in FORBIDDEN else None)
    witness = Path(os.environ["WITNESS"])
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what libraries print about such files
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while True:
        path, arch = pipe.recv()
        noticed.clear()
        try:
            open_teacher(path, card=card, arch=arch)
            found = OPENED, ""
        except BaseException as error:  # that is what is looked for
            found = told(error)
        if witness.exists() or noticed:
            found = CODE, f"{noticed}"
            shutil.rmtree(witness) if witness.is_dir() else witness.unlink(missing_ok=True)
        pipe.send(found)


def told(error: BaseException) -> tuple[str, str]:
    from frami_edge.errors import FramiError

    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    message = f"{type(error).__name__}: {error}"
    if any(isinstance(one, MemoryError) or "allocate" in str(one) or "bad_alloc" in str(one) for one in chain):
        return MEMORY, message
    return (REFUSED if isinstance(error, FramiError) else TRACEBACK), message


class Worker:
    """One process; replaced by another when it hangs or dies."""

    def __init__(self, card: Path) -> None:
        context = multiprocessing.get_context("fork")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=work, args=(other, card), daemon=True)
        self.process.start()
        other.close()
        self.since, self.used, self.doing = 0.0, 0.0, -1

    def open(self, index: int, path: Path, arch: bool) -> None:
        self.since, self.used, self.doing = time.monotonic(), self._processor_seconds(), index
        self.pipe.send((path, ARCH if arch else None))

    def hangs(self) -> bool:
        return self.doing >= 0 and (self._processor_seconds() - self.used > SECONDS
                                    or time.monotonic() - self.since > CLOCK_SECONDS)

    def _processor_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def run(files: int, seed: int, folder: Path, workers: int = 1, keep: Path | None = None
        ) -> dict[str, collections.Counter[str]]:
    """Open ``files`` files; returns the outcomes by kind of file. Files with faults are kept in ``keep``."""
    os.environ["WITNESS"] = str(folder / "witness")
    whole = folder / "whole"
    whole.mkdir()
    hostile_whole.whole_files(whole)
    card = folder / "teacher.toml"
    card.write_text(hostile_whole.CARD.to_toml())
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    kinds: dict[int, str] = {}
    crew = [Worker(card) for _ in range(workers)]

    def finish(place: int, outcome: str, message: str) -> None:
        index = crew[place].doing
        path = folder / f"{index}"
        counts[kinds[index]][outcome] += 1
        if outcome in FAULTS:
            print(f"{index} ({kinds[index]}): {outcome} {message[:300]}", flush=True)
            if keep is not None and path.is_file():
                shutil.copy(path, keep / f"{index}")
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        crew[place].doing = -1
        if outcome in (HANG, DIED):
            crew[place].end()
            crew[place] = Worker(card)

    waiting = collections.deque(range(files))
    while waiting or any(worker.doing >= 0 for worker in crew):
        for worker in crew:
            if worker.doing < 0 and waiting:
                index = waiting.popleft()
                kinds[index] = hostile_files.make(index, seed, whole, folder / f"{index}")
                worker.open(index, folder / f"{index}", arch=kinds[index] in hostile_files.WEIGHTS or index % 2 == 0)
        busy = {worker.pipe: place for place, worker in enumerate(crew) if worker.doing >= 0}
        for ready in multiprocessing.connection.wait(list(busy), timeout=0.2):
            assert isinstance(ready, Connection)
            try:
                finish(busy[ready], *ready.recv())
            except (EOFError, ConnectionResetError):
                finish(busy[ready], DIED, "")
        for place, worker in enumerate(crew):
            if worker.hangs():
                finish(place, HANG, "")
    for worker in crew:
        worker.end()
    return counts


def table(counts: dict[str, collections.Counter[str]]) -> str:
    rows = [["", "files", *OUTCOMES], ["---"] * (2 + len(OUTCOMES))]
    total: collections.Counter[str] = sum(counts.values(), collections.Counter())
    for kind, outcomes in [*((kind, counts[kind]) for kind in hostile_files.KINDS if kind in counts), ("all", total)]:
        rows.append([kind, str(outcomes.total()), *(str(outcomes[name]) for name in OUTCOMES)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", type=Path, help="a folder for the files that were not handled")
    options: Any = parser.parse_args(words)
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        counts = run(options.files, options.seed, Path(folder), options.workers, options.keep)
    print(table(counts))
    print(f"seed {options.seed}, {options.workers} workers, {(time.monotonic() - started) / 60:.1f} minutes")
    return int(any(outcomes[name] for outcomes in counts.values() for name in FAULTS))


if __name__ == "__main__":
    sys.exit(main())
