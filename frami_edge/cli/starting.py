"""The folder of a distillation: started anew, gone on from, or started on the samples of another one."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from frami_edge.cli import console
from frami_edge.errors import EXIT_USAGE, FramiError

if TYPE_CHECKING:
    from frami_edge.recipe import Recipe
    from frami_edge.runs import RunDirectory
    from frami_edge.teacher.opening import OpenedTeacher


def identity_of(opened: "OpenedTeacher", teacher_path: Path, student: str, seed: int) -> dict[str, Any]:
    """What a run must have been started with to be gone on with; file names, never where they lie."""
    from frami_edge import networks

    identity = {"teacher": teacher_path.name, "teacher_sha256": opened.sha256, "card_sha256": opened.card.sha256,
                "student": Path(student).name, "seed": seed}
    if ":" in student:
        identity["student_sha256"] = networks.student_code_sha256(student)
    if opened.teacher.frames_at:
        identity["frames_at"] = opened.teacher.frames_at
    return identity


def prepare(run: "RunDirectory", identity: dict[str, Any], settings: "Recipe", resume: bool, force: bool,
            bank: "RunDirectory | None") -> None:
    """Start a run folder, or see that the one that is there can be gone on from."""
    if resume and run.exists():
        run.check_same(identity, settings.to_toml())
        if bank and (not run.identity().get("bank_of") or
                     (bank.exists() and bank.identity() != run.identity()["bank_of"])):
            raise FramiError(f"{run.path} was not started on the samples of {bank.path}.",
                             "Resume without --bank, or start anew with --force.", exit_code=EXIT_USAGE)
        return
    if resume:
        console.err.print(f"There is nothing to resume in {run.path}; starting.", soft_wrap=True)
    elif run.exists() and not force:
        raise FramiError(f"{run.path} holds a run already.",
                         "Say --resume to go on with it, --force to start anew, or --out to write elsewhere.",
                         exit_code=EXIT_USAGE)
    if bank:
        state = _state_of(bank, run, identity, settings)
    run.clear()
    if bank:
        run.copy_bank(bank)
        run.save(state)
        identity = identity | {"bank_of": bank.identity()}
    run.start(identity, settings.to_toml())


def _state_of(bank: "RunDirectory", run: "RunDirectory", identity: dict[str, Any],
              settings: "Recipe") -> dict[str, Any]:
    """The checkpoint that a student starts from on the samples of ``bank``; refused where they do not belong to it."""
    from frami_edge.distillation.data_free import taken_over
    from frami_edge.recipe import load

    if bank.path.resolve() == run.path.resolve():
        raise FramiError(f"{bank.path} would be its own bank.", "Choose another --out.", exit_code=EXIT_USAGE)
    if bank.identity().get("teacher_sha256") != identity["teacher_sha256"]:
        raise FramiError(f"{bank.path} holds samples of another teacher, {bank.identity().get('teacher')}.",
                         exit_code=EXIT_USAGE)
    if bank.identity().get("card_sha256") != identity["card_sha256"]:
        raise FramiError(f"The samples in {bank.path} were made with another card.",
                         "Take the card that they were made with, or make samples anew, without --bank.",
                         exit_code=EXIT_USAGE)
    if bank.identity().get("frames_at") != identity.get("frames_at"):
        raise FramiError(f"The samples in {bank.path} were made with --frames-at {bank.identity().get('frames_at')}.",
                         "Say the same here." if bank.identity().get("frames_at") else "Leave the option out.",
                         exit_code=EXIT_USAGE)
    if load(str(bank.recipe)).inversion != settings.inversion:
        raise FramiError(f"The samples in {bank.path} were made otherwise: see [inversion] in {bank.recipe}.",
                         "Leave out --recipe, --method, --budget and what --set says of the inversion.",
                         exit_code=EXIT_USAGE)
    if not settings.distillation.finish.steps:
        raise FramiError("The recipe has no finishing phase, and there is nothing else to do on a bank.",
                         "Add --set distillation.finish.steps=1000.", exit_code=EXIT_USAGE)
    state = bank.load()
    if state is None:
        raise FramiError(f"{bank.path} has no checkpoint.", "Start it anew, without --bank.")
    return taken_over(state, settings.inversion)
