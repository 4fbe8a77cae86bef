"""Shared data: recordings and vendors' teachers, where they are at hand; what needs them is skipped elsewhere."""

import os
import signal

# before anything imports torch: tests are small, and threads that wait for each other by spinning make a suite that
# shares its cores with anything else ten times slower
os.environ.setdefault("OMP_NUM_THREADS", "1")

# a shell that runs the tests in the background makes them and their children ignore Ctrl-C, which some tests send
signal.signal(signal.SIGINT, signal.default_int_handler)

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# a folder with fsdd/ and esc10/; vendors' teachers lie in teachers/ beside it
DATA = Path(os.environ.get("FRAMI_EDGE_DATA", ROOT.parent / "shared" / "data"))


def _folder(path: Path) -> Path:
    if not path.is_dir():
        pytest.skip(f"needs {path}: set FRAMI_EDGE_DATA to a folder with fsdd/ and esc10/")
    return path


@pytest.fixture(scope="session")
def fsdd() -> Path:
    """The Free Spoken Digit Dataset: ``<digit>_<speaker>_<take>.wav``, 8 kHz mono."""
    return _folder(DATA / "fsdd")


@pytest.fixture(scope="session")
def esc10() -> Path:
    """ESC-10: ``<class>/<fold>-<id>-<take>.ogg``, 44.1 kHz mono."""
    return _folder(DATA / "esc10")


@pytest.fixture(scope="session")
def vendor_teachers() -> Path:
    """Folders ``digits`` and ``esc10``, each with teacher.pt, teacher.toml and model.py."""
    return _folder(DATA.parent / "teachers")
