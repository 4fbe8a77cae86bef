"""The frame of the command line: what users see when something is wrong, and what a start costs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from frami_edge import __version__
from frami_edge.cli import main
from frami_edge.cli.demo import unpack_teacher
from frami_edge.errors import EXIT_CHECK_FAILED, FramiError

runner = CliRunner()


@pytest.fixture
def raising() -> typer.Typer:
    """The frame with commands that raise."""
    app = typer.Typer(cls=main.Commands)

    @app.command()
    def check() -> None:
        raise FramiError("logits [a, b] differ by 0.1", "Export again.", exit_code=EXIT_CHECK_FAILED)

    @app.command()
    def stop() -> None:
        raise KeyboardInterrupt

    @app.command()
    def bug() -> None:
        raise ZeroDivisionError

    @app.command()
    def gone() -> None:
        raise PermissionError(13, "Permission denied", "/mnt/sounds")

    @app.command()
    def full() -> None:
        raise type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory")

    return app


def test_a_problem_is_one_line_a_hint_and_an_exit_code(raising: typer.Typer) -> None:
    result = runner.invoke(raising, ["check"])
    assert result.exit_code == EXIT_CHECK_FAILED and result.stdout == ""
    assert result.stderr == "error: logits [a, b] differ by 0.1\nExport again.\n"


def test_an_interruption_leaves_with_130(raising: typer.Typer) -> None:
    result = runner.invoke(raising, ["stop"])
    assert result.exit_code == 130 and "Interrupted" in result.stderr


@pytest.mark.skipif(os.name != "posix", reason="elsewhere nothing can be terminated so that it notices")
def test_being_terminated_is_an_interruption() -> None:
    """What `kill`, `docker stop` and clusters send: distill and train keep what they have at an interruption."""
    waiting = ("import time; from frami_edge import __main__; from frami_edge.cli import main\n"
               "@main.app.command('wait')\n"
               "def wait(): print('waiting', flush=True); time.sleep(120)\n"
               "__main__.main()")
    with subprocess.Popen([sys.executable, "-c", waiting, "wait"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "waiting\n"
        process.terminate()
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and "Interrupted" in stderr and "Traceback" not in stderr


def test_what_the_system_refuses_is_no_traceback(raising: typer.Typer) -> None:
    result = runner.invoke(raising, ["gone"])
    assert result.exit_code == 3 and "Permission denied: '/mnt/sounds'" in result.stderr
    result = runner.invoke(raising, ["full"])
    assert result.exit_code == 3 and "memory is full" in result.stderr and "batch_size" in result.stderr


def test_a_bug_is_not_hidden(raising: typer.Typer) -> None:
    assert isinstance(runner.invoke(raising, ["bug"]).exception, ZeroDivisionError)


def test_every_command_explains_itself() -> None:
    listed = runner.invoke(main.app, ["--help"])
    assert listed.exit_code == 0
    for command in main.COMMANDS:
        helped = runner.invoke(main.app, [command, "--help"])
        assert helped.exit_code == 0 and command in listed.stdout and "Usage" in helped.stdout
    # in help, what stands in brackets is markup unless it is escaped
    assert "pip install 'frami-edge[listen]'" in runner.invoke(main.app, ["listen", "--help"]).stdout


def test_version() -> None:
    assert runner.invoke(main.app, ["--version"]).stdout == f"frami-edge {__version__}\n"


@pytest.mark.parametrize("line,nearest", [(["exprot"], "export"), (["bench", "--thread", "1"], "--threads")])
def test_a_mistyped_word_is_a_usage_error_that_names_the_nearest(line: list[str], nearest: str) -> None:
    result = runner.invoke(main.app, line)
    assert result.exit_code == 2 and nearest in result.stderr


@pytest.mark.parametrize("line,code,message", [
    (["distill", "absent.pt"], 3, "There is no file absent.pt"),
    (["distill", "empty.pt"], 3, "empty.pt is empty"),
    (["distill", "teacher.pt", "--student", "wrn61"], 2, "Did you mean 'wrn16'?"),
    (["distill", "teacher.pt", "--recipe", "quik"], 2, "Did you mean 'quick'?"),
    (["export"], 3, "There is no file student.pt"),
    (["bench"], 3, "student.onnx"),
    (["train", ".", "--network", "res81"], 2, "Did you mean 'res18'?"),
    *(([command, "."], 2, ". is a folder") for command in ("export", "report", "inspect")),
    (["distill", "teacher.pt", "--out", "teacher.pt", "--force"], 2, "replaced by what is made from it"),
    (["train", ".", "--network", "wrn16", "--teacher", "teacher.pt", "--out", "teacher.pt", "--force"], 2,
     "replaced by what is made from it"),
    (["report", "teacher.pt", "--out", "teacher.pt", "--force"], 2, "replaced by what is made from it"),
    (["networks", "--classes", "100000000000"], 2, "--classes"),
])
def test_bad_input_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: list[str], code: int,
                           message: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.pt").touch()
    unpack_teacher(tmp_path / "teacher.pt")
    result = runner.invoke(main.app, line)
    assert result.exit_code == code and message in result.stderr and result.stdout == ""
    assert {path.name for path in tmp_path.iterdir()} == {"empty.pt", "teacher.pt"}


def test_a_start_loads_nothing_heavy() -> None:
    code = ("import sys, json; import frami_edge.cli.main; "
            "print(json.dumps([name for name in ('torch', 'onnx', 'onnxruntime', 'numpy') if name in sys.modules]))")
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(printed) == []


def test_the_module_runs_too() -> None:
    ran = subprocess.run([sys.executable, "-m", "frami_edge", "--version"], capture_output=True, text=True)
    assert ran.returncode == 0 and ran.stdout == f"frami-edge {__version__}\n"


def without(missing: str, *line: str) -> subprocess.CompletedProcess[str]:
    """``python -m MODULE ...`` where a package is not installed."""
    code = (f"import runpy, sys; sys.modules[{missing!r}] = None; sys.argv = {list(line)!r}; "
            "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)")
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.mark.parametrize("missing,line", [
    ("typer", ("frami_edge", "--version")),
    ("rich", ("frami_edge", "predict", "student.onnx", "tone.wav")),
    ("pydantic", ("frami_edge", "recipes", "quick")),
    ("soundfile", ("frami_edge", "predict", "student.onnx", "tone.wav")),
    ("numpy", ("frami_edge.runtime", "student.onnx")),
    ("onnxruntime", ("frami_edge.runtime", "student.onnx")),
])
def test_a_package_that_is_not_installed_is_named(missing: str, line: tuple[str, ...]) -> None:
    ran = without(missing, *line)
    assert ran.returncode == 3 and ran.stdout == "" and "Traceback" not in ran.stderr, ran.stderr
    assert f"needs {missing}, which is not installed here" in ran.stderr and f"pip install {missing}" in ran.stderr


def test_what_a_terminal_cannot_show_is_escaped(tmp_path: Path) -> None:
    """A class name is no reason to end: Windows redirects to a narrow encoding."""
    code = ("from frami_edge.runtime.text import print_anything; print_anything(); print('\u72ac'); "
            "import sys; print('\u72ac', file=sys.stderr)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True,
                          env={**os.environ, "PYTHONIOENCODING": "cp1252"})
    assert done.stdout.strip() == done.stderr.strip() == b"\\u72ac"
