"""Signals: a KeyboardInterrupt each, but not in the middle of an import."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

SLOW = """
import os, signal, time
for _ in range({signals}):
    os.kill(os.getpid(), signal.{name})
    time.sleep(0.05)
try:
    time.sleep(0.3)
except BaseException:  # as libraries do while they look for what is optional
    pass
whole = True
"""
MAIN = """
from frami_edge import interrupts
interrupts.listen()
try:
    import slow
    import time
    time.sleep(30)
except KeyboardInterrupt:
    print("interrupted", slow.whole)
"""


def heed_signals() -> None:
    """Whatever the tests were started from, such as nohup or the background of a shell, which ignore some."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def ran(folder: Path, signals: int, name: str = "SIGTERM") -> tuple[int, str]:
    (folder / "slow.py").write_text(SLOW.format(signals=signals, name=name))
    done = subprocess.run([sys.executable, "-c", MAIN], cwd=folder, capture_output=True, text=True, timeout=60,
                          preexec_fn=heed_signals)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_an_import_ends_before_it_is_interrupted(tmp_path: Path, name: str) -> None:
    assert ran(tmp_path, 1, name) == (0, "interrupted True\n")


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    assert ran(tmp_path, 2) == (130, "")


def test_what_nohup_ignores_stays_ignored() -> None:
    code = ("import os, signal; from frami_edge import interrupts; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
            "interrupts.listen(); os.kill(os.getpid(), signal.SIGHUP); print('here')")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "here\n")
