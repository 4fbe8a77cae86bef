"""Exporters by name."""

import subprocess
import sys

import pytest

from frami_edge import exporters
from frami_edge.errors import EXIT_USAGE, FramiError


def test_onnx_is_found_by_its_entry_point() -> None:
    assert "onnx" in exporters.names()
    assert exporters.find("onnx").__name__ == "export_onnx"


def test_the_nearest_format_is_named() -> None:
    with pytest.raises(FramiError, match="Did you mean 'onnx'") as caught:
        exporters.find("onxx")
    assert caught.value.exit_code == EXIT_USAGE


def test_listing_formats_loads_nothing_heavy() -> None:
    code = "import sys; from frami_edge import exporters; exporters.names(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
