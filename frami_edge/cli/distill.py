"""`frami-edge distill`: a student from a teacher, without data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from frami_edge.cli import console, options
from frami_edge.cli.distilling import run_distill
from frami_edge.errors import EXIT_CHECK_FAILED, EXIT_USAGE, FramiError

if TYPE_CHECKING:
    from frami_edge.runs import RunDirectory
    from frami_edge.teacher.opening import OpenedTeacher

WITHOUT_BN = ("The teacher has no BatchNorm: nothing held the samples to the statistics of its training data (the gap "
              "of 0 measures nothing), only its classes and the contrast shaped them. The agreement above says little: "
              "compare student and teacher on recordings before you use it.")

EXAMPLES = """
Make a student that imitates TEACHER, without a single recording.

\b
  frami-edge distill teacher.pt --student wrn16
  frami-edge distill vendor/teacher.pt --trust      # run the card's model.py
  frami-edge distill teacher.pt --recipe thorough   # three times the samples; small teachers get them anyway
  frami-edge distill teacher.pt --set inversion.batches=48   # or as many as you like
  frami-edge distill teacher.pt --method cmi        # a rival, with its published numbers
  frami-edge distill teacher.pt --student my.py:build   # a network of your own: build(classes, n_mels)
  frami-edge distill teacher.pt --student bcresnet3 --bank student.run --out small.pt   # from the samples there are
  frami-edge distill teacher.pt --devices 2         # two processes: two GPUs, or half of the cores each
  frami-edge distill teacher.pt --resume            # go on after Ctrl-C

Writes student.pt, and beside it student.run/ with the resolved recipe, metrics.jsonl, the synthesized samples and the
checkpoint that --resume goes on from.
"""


def register(app: typer.Typer) -> None:
    @app.command("distill", help=EXAMPLES)
    def distill(
        teacher: Annotated[Path, typer.Argument(help="The teacher's checkpoint; its card teacher.toml beside it.")],
        student: Annotated[str, typer.Option(help="One that `frami-edge networks` lists, or my.py:build.")] = "wrn16",
        out: Annotated[Path, typer.Option(help="Where the student goes.")] = Path("student.pt"),
        recipe: Annotated[str | None, typer.Option(help="One that `frami-edge recipes` lists, or a TOML file; by "
                                                        "default quick, or thorough where the teacher is small.",
                                                   show_default=False)] = None,
        method: Annotated[str | None, typer.Option(help="Synthesizer: frami, cmi, fastdfkd, adi or noise, with the "
                                                        "recipe of that name unless --recipe says another.")] = None,
        no_finv: Annotated[bool, typer.Option("--no-finv", help="Without T_finv (Eq. 2).")] = False,
        no_reuse: Annotated[bool, typer.Option("--no-reuse", help="Without the reuse losses (Eqs. 6-9).")] = False,
        set_: options.Set = None,
        budget: Annotated[str | None, typer.Option(help="Synthesize for so long, such as 10m or 1h30m, instead of a "
                                                        "number of batches; finishing comes on top.")] = None,
        bank: Annotated[Path | None, typer.Option(
            help="Another run of this teacher: its samples and recipe are taken, and only the last phase is run.",
            show_default=False)] = None,
        seed: options.Seed = 0,
        min_agreement: Annotated[float, typer.Option(
            min=0, max=1, help="End with exit code 1 where the student agrees with its teacher on a smaller share of "
                               "fresh samples, or the synthesis failed; the student is written anyway.",
            show_default=False)] = 0.0,
        resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
        force: Annotated[bool, typer.Option("--force", help="Replace the student and the run that are there.")] = False,
        card: options.Card = None,
        arch: options.Arch = None,
        trust: options.Trust = False,
        frames_at: Annotated[str | None, typer.Option(
            help="The module with the hidden state along time, where it is not found and the card does not say.",
            show_default=False)] = None,
        features_at: Annotated[str | None, typer.Option(
            help="The last module of the front-end inside a teacher that takes waveforms; likewise.",
            show_default=False)] = None,
        without_bn: Annotated[bool, typer.Option(
            "--without-bn", help="Go on with a teacher that has no BatchNorm.")] = False,
        believe_card: options.BelieveCard = False,
        device: options.Device = "auto",
        precision: options.Precision = "auto",
        devices: Annotated[int, typer.Option(min=1, help="Processes, each on its own accelerator or share of the "
                                                         "cores; torchrun works too.")] = 1,
        strategy: Annotated[str, typer.Option(help="How they learn together: ddp.")] = "ddp",
    ) -> None:
        from frami_edge import processes
        from frami_edge.runs import RunDirectory
        from frami_edge.teacher.opening import open_teacher

        if strategy not in processes.STRATEGIES:
            raise FramiError(f"Unknown strategy '{strategy}'.", f"Known: {', '.join(processes.STRATEGIES)}.",
                             exit_code=EXIT_USAGE)
        if devices > 1 and not processes.started_by_torchrun():
            processes.check_devices(devices, device)
            raise typer.Exit(processes.supervise(devices))
        if resume and force:
            raise FramiError("--resume goes on with the run that is there, --force begins anew.",
                             "Leave one of them out.", exit_code=EXIT_USAGE)
        if not out.name:
            raise FramiError(f"{out} is a folder.", "--out is the student's file, such as student.pt.",
                             exit_code=EXIT_USAGE)
        begun = RunDirectory(out.with_suffix(".run"))
        if bank and resume and begun.exists():  # the samples have been copied; the other run may be gone
            recipe = recipe or str(begun.recipe)
        elif bank:
            recipe = recipe or _recipe_of(RunDirectory(bank), method)
        recipe, switches = _switched(recipe, method, no_finv, no_reuse, budget)
        opened = open_teacher(teacher, card=card, arch=arch, trust=trust, frames_at=frames_at,
                              features_at=features_at)
        overrides = [*switches, *(set_ or []), *_without_bn(opened, without_bn)]
        if not (resume and begun.exists()):  # it was checked when the run was started
            _check_card(opened, believe_card)
        verdict = run_distill(opened, teacher, student, out, recipe=recipe, overrides=overrides, seed=seed,
                              resume=resume, force=force, device=device, precision=precision, strategy=strategy,
                              bank=bank)
        if without_bn and verdict:
            console.out.print(WITHOUT_BN, soft_wrap=True)
        if min_agreement and verdict and (verdict.agreement < min_agreement or verdict.failed):
            console.err.print(f"The verdict is below --min-agreement {min_agreement:g}.")
            raise typer.Exit(EXIT_CHECK_FAILED)


def _recipe_of(bank: "RunDirectory", method: str | None) -> str | None:
    """The recipe that the samples were made with."""
    if not bank.exists():
        raise FramiError(f"{bank.path} holds no run.", "--bank takes the folder of one, such as student.run.",
                         exit_code=EXIT_USAGE)
    return None if method else str(bank.recipe)


def _switched(recipe: str | None, method: str | None, no_finv: bool, no_reuse: bool,
              budget: str | None) -> tuple[str | None, list[str]]:
    """The recipe, where one is named, and the overrides that the switches stand for."""
    from frami_edge.durations import seconds_of

    overrides = [f"inversion.method={method}"] if method else []
    if no_finv:
        overrides.append("inversion.finv_weight=0")
    if no_reuse:
        overrides += [f"distillation.{phase}.{reuse}_reuse=0"
                      for phase in ("alternate", "finish") for reuse in ("frame", "utterance")]
    if budget:
        overrides.append(f"inversion.minutes={seconds_of(budget) / 60}")
    return recipe or (None if method == "frami" else method), overrides


def _check_card(opened: "OpenedTeacher", believe: bool) -> None:
    """Warn of a card that contradicts the teacher's BatchNorm statistics; refuse one that is surely wrong."""
    from frami_edge.teacher.dialects import check_card, require_plausible

    warning = (check_card if believe else require_plausible)(opened.teacher).warning
    if warning:
        console.err.print(f"warning: {warning} 'frami-edge inspect' says more.", highlight=False, markup=False,
                          soft_wrap=True)


def _without_bn(opened: "OpenedTeacher", without_bn: bool) -> list[str]:
    """The override that ``--without-bn`` stands for; refused where there is BatchNorm."""
    layers = len(opened.teacher.batch_norms())
    if without_bn and layers:
        raise FramiError(f"The teacher has {layers} BatchNorm layers, and --without-bn would leave them out.",
                         "Leave the option out; to measure what they bring, say --set inversion.bn_weight=0.",
                         exit_code=EXIT_USAGE)
    return ["inversion.bn_weight=0"] if without_bn else []
