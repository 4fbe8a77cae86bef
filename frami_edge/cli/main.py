"""The ``frami-edge`` command: registers the commands, and turns problems into one clear line and an exit code."""

import os
from importlib import import_module
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperGroup

from frami_edge import __version__
from frami_edge.cli import console
from frami_edge.errors import EXIT_CANNOT_RUN, FramiError
from frami_edge.interrupts import INTERRUPTED
from frami_edge.runtime.text import drop_output, print_anything

# in the order of use; each module has register(app) and imports what is heavy inside its command
COMMANDS = ("inspect", "distill", "report", "export", "bench", "compare", "eval", "predict", "listen", "train",
            "reproduce", "recipes", "networks", "demo")

DISTILL_EXTRA = {"filelock", "jinja2", "lightning_fabric", "matplotlib", "onnx", "onnxscript", "torch",
                 "torchaudio"}  # a device does without
DEPENDENCIES = {"numpy", "onnxruntime", "pydantic", "soundfile"}  # those that are imported inside commands


class Commands(TyperGroup):
    """Runs a command; what it raises for the user becomes a message on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except FramiError as error:
            raise typer.Exit(tell(error)) from None
        except ModuleNotFoundError as error:
            if error.name not in DISTILL_EXTRA | DEPENDENCIES:
                raise
            lacking = "'frami-edge[distill]'" if error.name in DISTILL_EXTRA else error.name
            raise typer.Exit(tell(FramiError(f"This command needs {error.name}, which is not installed here.",
                                             f"pip install {lacking}"))) from None
        except OSError as error:  # a folder that may not be entered, a name that is too long, a device that is gone
            if isinstance(error, BrokenPipeError):  # who closes a pipe knows
                drop_output()
                raise typer.Exit(EXIT_CANNOT_RUN) from None
            raise typer.Exit(tell(FramiError(str(error)))) from None
        except RuntimeError as error:
            if type(error).__name__ != "OutOfMemoryError":  # torch's, which a device does without
                raise
            raise typer.Exit(tell(FramiError(
                "The accelerator's memory is full.", "Smaller batches need less, such as --set inversion.batch_size=32 "
                "--set distillation.batch_size=32; what a run has saved stays, but goes on with its own recipe alone."
            ))) from None
        except KeyboardInterrupt:
            console.err.print("Interrupted.")
            raise typer.Exit(INTERRUPTED) from None


def tell(error: FramiError) -> int:
    """Print a problem to stderr; returns the exit code."""
    console.err.print(f"[bold red]error:[/] {escape(error.problem)}", markup=True, soft_wrap=True)
    if error.hint:
        console.err.print(error.hint, soft_wrap=True)
    return error.exit_code


app = typer.Typer(name="frami-edge", cls=Commands, no_args_is_help=True, add_completion=False,
                  pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]})
for _name in COMMANDS:
    import_module(f"frami_edge.cli.{_name}").register(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"frami-edge {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True,
                                          help="Print the version and leave.")] = False,
) -> None:
    """Turn a sound classifier's checkpoint into a small ONNX student, without a single recording.

    Exit codes: 0 good, 1 a check failed, 2 usage, 3 could not run, 130 interrupted.
    """


def main() -> None:
    """Entry point of the console script."""
    # torch's threads wait for one another by spinning, which makes everything several times slower as soon as another
    # program wants one of the cores
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    print_anything()
    app()
