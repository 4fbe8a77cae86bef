"""`frami-edge train`: a teacher, or a student, from labelled recordings."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frami_edge.cli import console, options
from frami_edge.interrupts import INTERRUPTED

if TYPE_CHECKING:
    from frami_edge.card import TeacherCard
    from frami_edge.compute import Compute
    from frami_edge.datasets import Dataset
    from frami_edge.recordings import Recordings
    from frami_edge.teacher.opening import OpenedTeacher
    from frami_edge.training import Progress, Settings, Training

LOGGED_STEPS = 100  # between lines of a log

HELP = """
Train a network on the labelled recordings in FOLDER.

\b
  frami-edge train fsdd --network wrn40 --test theo                     # a teacher: writes teacher.pt
  frami-edge train fsdd --network wrn16 --test theo --out student.pt
  frami-edge train fsdd --network wrn16 --test theo --teacher teacher.pt   # imitates a teacher: writes student.pt
  frami-edge train sounds --time-independent --seconds 2                # CLASS/clip.wav
  frami-edge train fsdd --test theo --set training.epochs=20            # other values than the recipe's

The clips of --test (speakers, folds) are kept out of training. They are never used to choose anything: the weights of
the last epoch are what is written, and only then is their accuracy taken. Ctrl-C keeps the last whole epoch.
--test official keeps the groups that are usual for the data set: the last fold, the last six speakers.
"""


def register(app: typer.Typer) -> None:
    @app.command("train", help=HELP)
    def train(
        folder: options.DataFolder,
        network: Annotated[str, typer.Option(help="One that `frami-edge networks` lists, or my.py:build.")] = "wrn16",
        dataset: options.Layout = "auto",
        test: options.TestGroups = None,
        out: Annotated[Path | None, typer.Option(
            help="By default teacher.pt, or student.pt with --teacher.", show_default=False)] = None,
        teacher: Annotated[Path | None, typer.Option(help="Imitate this teacher, not the labels.")] = None,
        card: Annotated[Path | None, typer.Option(
            help="Front-end, clips and labels; with --teacher, the teacher's card.")] = None,
        arch: Annotated[str | None, typer.Option(
            help="What builds the teacher's network: one that `frami-edge networks` lists, or model.py:build.",
            show_default=False)] = None,
        trust: options.Trust = False,
        time_dependent: Annotated[bool | None, typer.Option(
            "--time-dependent/--time-independent", show_default=False,
            help="Words, or sounds that may be rolled in time; by default as is usual for the data set.")] = None,
        seconds: Annotated[float | None, typer.Option(
            min=0.05, max=3600, help="Of the clips; by default as is usual for the data set.",
            show_default=False)] = None,
        recipe: Annotated[str, typer.Option(help="A recipe for trainings, or a TOML file.")] = "training",
        set_: options.Set = None,
        epochs: Annotated[int | None, typer.Option(min=0, help="0: 40, and at least 1600 steps.")] = None,
        batch_size: Annotated[int | None, typer.Option(min=2, help="Clips in a step; by default the recipe's.",
                                                       show_default=False)] = None,
        lr: Annotated[float | None, typer.Option(help="Of SGD at the start; falls as a cosine.")] = None,
        temperature: Annotated[float | None, typer.Option(help="With --teacher: T in KL * T^2.")] = None,
        hard_weight: Annotated[float | None, typer.Option(
            help="With --teacher: weight of the labels' cross-entropy.")] = None,
        seed: options.Seed = 0,
        force: options.Force = False,
        device: options.Device = "auto",
        precision: options.Precision = "auto",
    ) -> None:
        from frami_edge import networks
        from frami_edge.compute import choose
        from frami_edge.errors import EXIT_USAGE, FramiError
        from frami_edge.files import refuse_overwrite, refuse_own_source

        out = out or Path("student.pt" if teacher else "teacher.pt")
        settings = _settings(recipe, set_, seed, epochs=epochs, batch_size=batch_size, lr=lr, temperature=temperature,
                             hard_weight=hard_weight)
        networks.check_student(network)  # an unknown name is told before anything is read
        if teacher:
            refuse_own_source(out, teacher)
        refuse_overwrite(out, force)
        refuse_overwrite(recipe_of(out), force)
        if Path(recipe).resolve() == recipe_of(out).resolve():
            raise FramiError(f"{recipe} would be replaced by what it resolves to.", "Give it another name.",
                             exit_code=EXIT_USAGE)
        _check_options(teacher, card, arch, trust, time_dependent, seconds)
        if not teacher and (temperature is not None or hard_weight is not None):
            raise FramiError("--temperature and --hard-weight are about learning from a teacher, and there is no "
                             "--teacher.", exit_code=EXIT_USAGE)
        compute = choose(device, precision)
        opened = _open_teacher(teacher, card, arch, trust)
        given = opened.card if opened else _read_card(card)
        run_train(open_data(folder, dataset, time_dependent, seconds, given), test or [], network, out, settings,
                  compute, opened, given)


def _settings(recipe: str, overrides: list[str] | None, seed: int, **options: float | None) -> "Settings":
    """The recipe's values, those of the command's own options first."""
    from frami_edge.recipe import load_training
    from frami_edge.training import Settings

    values = load_training(recipe, overrides).training.model_dump()
    given = {name: value for name, value in options.items() if value is not None}
    return Settings(**(values | given), seed=seed)


def open_data(folder: Path, layout: str, time_dependent: bool | None, seconds: float | None,
              card: "TeacherCard | None") -> "Dataset":
    """The data set, labelled as the card does."""
    from frami_edge.datasets import open_dataset

    data = open_dataset(folder, layout, time_dependent, seconds)
    return data.with_labels(card.labels) if card else data


def run_train(data: "Dataset", test: list[str], network: str, out: Path, settings: "Settings", compute: "Compute",
              opened: "OpenedTeacher | None" = None, card: "TeacherCard | None" = None) -> None:
    """Train on all groups but ``test``, write ``out``, then take the accuracy on ``test``."""
    training_part, test_part = data.split(*test)
    kept = "none (--test GROUP keeps some)"
    if test:
        kept = f"{len(test_part.clips)} clips ({' and '.join(test_part.groups)})"
    console.err.print(f"{len(training_part.clips)} clips of {data.name} -> {network} on {compute.summary()}; "
                      f"kept for the test: {kept}", highlight=False, markup=False, soft_wrap=True)
    recordings, card = _load(training_part, card)
    training = _training(network, recordings, card, settings, compute, opened)
    interrupted = _run(training)
    provenance = _provenance(training, training_part, test_part.groups, opened, interrupted)
    _save(out, training, provenance)
    if interrupted:
        raise typer.Exit(INTERRUPTED)
    if test:
        _print_test(training, test_part)


def _read_card(card: Path | None) -> "TeacherCard | None":
    from frami_edge.card import TeacherCard

    return TeacherCard.read(card) if card else None


def _check_options(teacher: Path | None, card: Path | None, arch: str | None, trust: bool,
                   time_dependent: bool | None, seconds: float | None) -> None:
    """Options that would be ignored are refused."""
    from frami_edge.errors import EXIT_USAGE, FramiError

    if (arch or trust) and not teacher:
        raise FramiError("--arch and --trust say how to open a teacher, and there is no --teacher.",
                         exit_code=EXIT_USAGE)
    if (card or teacher) and (time_dependent is not None or seconds is not None):
        raise FramiError("The card says how long clips are and whether they depend on time.",
                         "Change it there, or leave out --seconds and --time-dependent.", exit_code=EXIT_USAGE)


def _open_teacher(teacher: Path | None, card: Path | None, arch: str | None, trust: bool) -> "OpenedTeacher | None":
    if teacher is None:
        return None
    from frami_edge.teacher.opening import open_teacher

    return open_teacher(teacher, card=card, arch=arch, trust=trust)


def _load(data: "Dataset", card: "TeacherCard | None") -> "tuple[Recordings, TeacherCard]":
    """The log-Mels of the training part, and the card; without one, the usual front-end and its normalisation."""
    from frami_edge import recordings
    from frami_edge.training import default_card, with_normalisation

    with console.progress() as bars:
        task = bars.add_task("reading", total=len(data.clips), losses="")
        loaded = recordings.load(data.clips, card or default_card(data), lambda done: bars.update(task, completed=done))
    return loaded, card or with_normalisation(default_card(data), loaded)


def _training(network: str, recordings: "Recordings", card: "TeacherCard", settings: "Settings", compute: "Compute",
              opened: "OpenedTeacher | None") -> "Training":
    import torch

    from frami_edge import networks
    from frami_edge.training import Training

    torch.manual_seed(settings.seed)
    built = networks.build_student(network, card.classes, card.frontend.rows)
    return Training(built, recordings, card, settings, compute, opened.teacher if opened else None)


def _run(training: "Training") -> bool:
    """Train with a bar; True where Ctrl-C ended it after at least one whole epoch."""
    with console.progress() as bars:
        task = bars.add_task("training", total=training.steps, losses="")

        def report(progress: "Progress") -> None:
            state = (f"epoch {progress.epoch}/{progress.epochs} loss {progress.loss:.3f} "
                     f"accuracy {progress.accuracy:.1%}")
            bars.update(task, completed=progress.step, losses=state)
            if progress.step % LOGGED_STEPS == 0:
                console.log(bars, task)

        try:
            training.run(report)
        except KeyboardInterrupt:
            if training.epochs_done == 0:
                raise
            return True
    return False


def recipe_of(out: Path) -> Path:
    """Where the resolved recipe goes, beside the checkpoint."""
    return out.with_suffix(".recipe.toml")


def _save(out: Path, training: "Training", provenance: dict[str, Any]) -> None:
    from frami_edge import checkpoints
    from frami_edge.files import write_atomically
    from frami_edge.tables import to_toml

    checkpoints.save(out, training.network, training.card, provenance)
    write_atomically(recipe_of(out),
                     lambda aside: aside.write_text(to_toml(provenance["recipe"]), encoding="utf-8"))
    epochs, done = training.epochs, training.epochs_done
    after = f"{done} epochs" if done == epochs else f"epoch {done} of {epochs}: it was interrupted, and is less good"
    how = "learned the labels"
    if training.teacher is not None:
        settings = training.settings
        how = f"imitated the teacher at T = {settings.temperature:g}, weight of the labels {settings.hard_weight:g}"
    console.out.print(f"{out} after {after} ({provenance['seconds'] / 60:.1f} minutes; {how}).", highlight=False,
                      markup=False, soft_wrap=True)


def _provenance(training: "Training", data: "Dataset", test: list[str], opened: "OpenedTeacher | None",
                interrupted: bool) -> dict[str, Any]:
    """Where the weights come from, as plain JSON values."""
    from frami_edge import __version__

    settings = asdict(training.settings) | {"epochs": training.epochs, "batch_size": training.batch_size}
    values = {name: value for name, value in asdict(training.settings).items() if name != "seed"}
    if opened is None:
        del settings["temperature"], settings["hard_weight"]
    return {
        "frami_edge": __version__,
        "made_by": "frami-edge train",
        "teacher_sha256": opened.sha256 if opened else None,
        "recordings": {"dataset": data.name, "clips": len(data.clips), "groups": data.groups, "test_groups": test},
        "settings": settings,
        "recipe": {"training": values},
        "seed": training.settings.seed,
        "compute": training.compute.summary(),
        "epochs_done": training.epochs_done,
        "interrupted": interrupted,
        "seconds": round(training.seconds, 1),
    }


def _print_test(training: "Training", data: "Dataset") -> None:
    from frami_edge.cli.eval import summary, with_progress
    from frami_edge.evaluation import torch_model

    evaluation = with_progress(torch_model(training.network, training.card), data.clips)
    console.out.print(f"Test: {summary(evaluation)}", highlight=False)
