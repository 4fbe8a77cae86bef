"""Ctrl-C, kill, and a terminal that was closed: a KeyboardInterrupt each, but never in the middle of an import.

An exception that strikes while a library is imported may be swallowed there, leave half a module behind, or abort the
process, and imports are what this program does for its first seconds. So it waits until the import is done; a second
signal meanwhile ends the process at once, for nothing has been begun.
"""

import os
import signal
from types import FrameType

INTERRUPTED = 130  # 128 + SIGINT, as shells say it
AGAIN = 0.1  # seconds until it is tried again

_waiting = False


def interrupt(number: int, frame: FrameType | None) -> None:
    """A handler of signals."""
    global _waiting
    if hasattr(signal, "setitimer") and _importing(frame):
        if _waiting and number != signal.SIGALRM:
            os._exit(INTERRUPTED)
        _waiting = True
        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, AGAIN)
        return
    _waiting = False
    raise KeyboardInterrupt


def listen() -> None:
    """Interrupt at Ctrl-C, kill (docker stop, a cluster) and a closed terminal, where they are not ignored (nohup)."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
