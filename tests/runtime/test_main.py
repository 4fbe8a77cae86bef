"""``python -m frami_edge.runtime`` where nothing but numpy and onnxruntime can be imported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BLOCKED = ("torch", "torchaudio", "onnx", "onnxscript", "typer", "rich", "soundfile", "pydantic", "scipy")
WITHOUT = f"""
import runpy, sys
for name in {BLOCKED}:
    sys.modules[name] = None  # any import of it fails from here on
sys.argv[0] = "runtime"
runpy.run_module("frami_edge.runtime", run_name="__main__", alter_sys=True)
"""


def runtime(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", WITHOUT, *arguments], cwd=folder, capture_output=True, text=True,
                          check=False, timeout=300)


def test_json_on_stdout_and_progress_on_stderr(exported) -> None:
    done = runtime(exported.model.parent, "--json", "--runs", "12", "--threads", "1")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["passed"] is True
    assert report["models"][0]["file"] == "student.onnx"  # found without being named
    assert report["models"][0]["runs"][0]["warm"]["n"] == 12
    assert "parity" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
def test_a_report_that_cannot_be_printed_is_no_failed_check(exported) -> None:
    """1 says that parity or a gate failed; here nobody has heard the verdict."""
    words = [sys.executable, "-c", WITHOUT, "--json", "--runs", "1", "--warmup", "0", "--no-parity"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, cwd=exported.model.parent, stdout=full, stderr=subprocess.PIPE, text=True,
                              check=False, timeout=300)
    assert done.returncode == 3 and "error: " in done.stderr and "Traceback" not in done.stderr
    with subprocess.Popen(words, cwd=exported.model.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        errors = process.stderr.read()
    assert process.returncode == 3 and b"Traceback" not in errors and b"error" not in errors


def test_more_threads_than_there_can_be(exported) -> None:
    done = runtime(exported.model.parent, "--threads", "3000000000", "--no-parity")
    assert done.returncode == 2 and "3000000000 threads are not between 1 and" in done.stderr


def test_text_for_people(exported) -> None:
    done = runtime(exported.model.parent, str(exported.model), "--runs", "3", "--seconds", "0.25", "--warmup", "0")
    assert done.returncode == 0, done.stderr
    assert "parity PASS" in done.stdout
    assert "0.25 s" in done.stdout


def test_the_classifier_needs_no_more_either(exported) -> None:
    code = WITHOUT.split("sys.argv")[0] + (
        "import numpy as np\nfrom frami_edge.runtime import Classifier\n"
        f"print(len(Classifier({str(exported.model)!r}).predict(np.ones(100), 8000, top=9)))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout.strip() == "4", done.stderr


@pytest.mark.parametrize(("arguments", "code", "said"), [
    (("absent.onnx",), 3, "There is no file absent.onnx"),
    (("--runs", "many"), 2, "invalid int value"),
    (("--threads", "some"), 2, "--threads some"),
    (("--nonsense",), 2, "unrecognized arguments"),
])
def test_exit_codes(tmp_path: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = runtime(tmp_path, *arguments)
    assert done.returncode == code
    assert said in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
