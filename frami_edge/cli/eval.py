"""`frami-edge eval`: how many labelled recordings a model recognises."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frami_edge.cli import console, options
from frami_edge.errors import EXIT_USAGE, FramiError

if TYPE_CHECKING:
    from rich.table import Table

    from frami_edge.datasets import Clip
    from frami_edge.evaluation import Evaluation, Model

WIDEST_MATRIX = 20  # classes; of more, the most frequent confusions are printed
MOST_CONFUSIONS = 10

HELP = """
Accuracy of MODEL on the labelled recordings in FOLDER: n, per class, confusion matrix.

\b
  frami-edge eval student.onnx esc10 --test 5             # fold 5 only
  frami-edge eval student.pt fsdd --test theo --json
  frami-edge eval vendor/teacher.pt fsdd --trust          # run the model.py that its card names
  frami-edge eval student.pt fsdd --test theo --against teacher.pt    # and how close it comes to its teacher

MODEL is an exported .onnx (needs no torch), a student.pt or a teacher. FOLDER is ESC-50, ESC-10, UrbanSound8K,
AudioMNIST, the Free Spoken Digit Dataset, or a folder for each class.
"""


def register(app: typer.Typer) -> None:
    @app.command("eval", help=HELP)
    def eval_(
        model: options.ModelFile,
        folder: options.DataFolder,
        dataset: options.Layout = "auto",
        test: options.TestGroups = None,
        against: Annotated[Path | None, typer.Option(
            metavar="FILE", help="Another model, a student's teacher as a rule: say how often both name the same "
            "class, and the KL divergence. --card and --arch are for this one then.")] = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
        card: options.Card = None,
        arch: options.Arch = None,
        trust: options.Trust = False,
        threads: options.Threads = 1,
    ) -> None:
        import json

        from frami_edge.datasets import open_dataset
        from frami_edge.evaluation import open_model

        how: dict[str, Any] = {"card": card, "arch": arch}
        opened = open_model(model, trust=trust, threads=threads, **({} if against else how))
        other = open_model(against, trust=trust, threads=threads, **how) if against else None
        if other and other.labels != opened.labels:
            raise FramiError(f"{model} and {against} do not have the same classes in the same order.",
                             exit_code=EXIT_USAGE)
        data = open_dataset(folder, dataset).with_labels(opened.labels)
        if test:
            data = data.split(*test)[1]
        evaluation = with_progress(opened, data.clips)
        beside = with_progress(other, data.clips) if other else None
        if as_json:
            result = {"model": str(model), "dataset": data.name, "groups": data.groups} | evaluation.as_dict()
            if beside:
                same = evaluation.agreements(beside.predicted)
                result["against"] = {"model": str(against), "correct": beside.correct, "accuracy": beside.accuracy,
                                     "same": same, "agreement": same / evaluation.n,
                                     "divergence": evaluation.divergence(beside)}
            typer.echo(json.dumps(result, indent=2))
        else:
            console.out.print(f"{model} on {data.name}" + (f", {' and '.join(test)} only" if test else ""),
                              highlight=False, markup=False, soft_wrap=True)
            print_evaluation(evaluation)
            if beside:
                console.out.print(f"{against}: {summary(beside)}\n{agreement(evaluation, beside)}\n"
                                  f"Mean KL divergence from its probabilities: {evaluation.divergence(beside):.4f} "
                                  f"nats", highlight=False, markup=False, soft_wrap=True)


def with_progress(model: "Model", clips: "tuple[Clip, ...]") -> "Evaluation":
    """Evaluate with a bar on stderr."""
    from frami_edge.evaluation import evaluate

    with console.progress() as bars:
        task = bars.add_task("clips", total=len(clips), losses="")
        return evaluate(model, clips, lambda done: bars.update(task, completed=done))


def summary(evaluation: "Evaluation") -> str:
    """For example: 474 of 500 right: 94.8 % (95 % interval 92.5 to 96.4)."""
    from frami_edge.evaluation import wilson_interval

    low, high = wilson_interval(evaluation.correct, evaluation.n)
    return (f"{evaluation.correct} of {evaluation.n} right: {100 * evaluation.accuracy:.1f} % "
            f"(95 % interval {100 * low:.1f} to {100 * high:.1f})")


def agreement(one: "Evaluation", other: "Evaluation") -> str:
    """For example: Both decide alike on 495 of 500: 99.0 % (95 % interval 97.7 to 99.6)."""
    from frami_edge.evaluation import wilson_interval

    same = one.agreements(other.predicted)
    low, high = wilson_interval(same, one.n)
    return (f"Both decide alike on {same} of {one.n}: {100 * same / one.n:.1f} % (95 % interval {100 * low:.1f} to "
            f"{100 * high:.1f})")


def print_evaluation(evaluation: "Evaluation") -> None:
    from rich.table import Table
    from rich.text import Text  # labels may look like markup

    console.out.print(summary(evaluation), highlight=False)
    table = Table("class", box=None)
    for heading in ("right", "clips", "%"):
        table.add_column(heading, justify="right")
    for label, correct, n in evaluation.per_class:
        table.add_row(Text(label), str(correct), str(n), f"{100 * correct / n:.1f}")
    console.out.print(table)
    matrix = _matrix(evaluation)
    needed = console.out.measure(matrix, options=console.out.options.update(max_width=10**4)).maximum
    if len(evaluation.labels) <= WIDEST_MATRIX and needed <= console.out.width:
        console.out.print(matrix)
    else:
        for label, taken_for, count in evaluation.confusions[:MOST_CONFUSIONS]:
            console.out.print(f"{label} taken for {taken_for}: {count}", highlight=False, markup=False)


def _matrix(evaluation: "Evaluation") -> "Table":
    """Rows are the true classes, columns, numbered in the same order, what they were taken for."""
    from rich.table import Table
    from rich.text import Text

    table = Table("true class \\ taken for", box=None)
    for column in range(len(evaluation.labels)):
        table.add_column(str(column), justify="right")
    for row, (label, counts) in enumerate(zip(evaluation.labels, evaluation.confusion, strict=True)):
        table.add_row(Text(f"{row} {label}"), *(str(count) if count else "." for count in counts))
    return table
