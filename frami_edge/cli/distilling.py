"""A distillation with its bars and its verdict: for `frami-edge distill`, the demo and the benchmarks."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frami_edge.cli import console
from frami_edge.cli.starting import identity_of, prepare
from frami_edge.cli.verdict import print_verdict
from frami_edge.errors import EXIT_USAGE, FramiError

if TYPE_CHECKING:
    from frami_edge.distillation.data_free import Progress
    from frami_edge.distillation.verdict import Verdict
    from frami_edge.recipe import Recipe
    from frami_edge.teacher.opening import OpenedTeacher

LOGGED_STEPS = 50  # between lines of a log


def run_distill(opened: "OpenedTeacher", teacher_path: Path, student: str, out: Path, *,
                recipe: str | None = None, overrides: list[str] | None = None, seed: int = 0, resume: bool = False,
                force: bool = False, device: str = "auto", precision: str = "auto", strategy: str = "ddp",
                bank: Path | None = None) -> "Verdict | None":
    """Distil and write ``out``; returns the verdict. Prints progress to stderr and the verdict to stdout.

    Without ``recipe`` it is the one that suits the teacher (:func:`~frami_edge.distillation.usual.usual_recipe`). With
    ``bank``, the folder of another run, its samples are taken and only the finishing phase is run. Of several processes
    the first one starts the run, prints, and writes the student; the others return nothing.
    """
    from frami_edge import checkpoints, networks, processes
    from frami_edge.compute import choose
    from frami_edge.distillation.data_free import DataFreeDistillation
    from frami_edge.distillation.usual import usual_recipe
    from frami_edge.files import refuse_overwrite, refuse_own_source
    from frami_edge.recipe import load
    from frami_edge.runs import RunDirectory

    # a student that cannot be built is told before anything is written
    networks.build_student(student, opened.card.classes, opened.card.frontend.rows)
    why = ""
    if recipe is None:
        recipe, why = usual_recipe(opened.teacher)
    settings, compute = load(recipe, overrides), choose(device, precision)
    if settings.inversion.bn_weight:
        opened.teacher.require_batch_norms()  # before a run is started
    run = RunDirectory(out.with_suffix(".run"))
    if run.path == out:
        raise FramiError(f"{out} is what the folder of the run is called.", "Give --out another ending, such as .pt.",
                         exit_code=EXIT_USAGE)
    refuse_own_source(out, teacher_path)
    refuse_overwrite(out, force or (resume and run.exists()))  # without a run, --resume starts one
    if processes.rank_here():
        together = processes.join(compute.device, strategy)  # waits until the first one has prepared the run
        DataFreeDistillation(opened.teacher, opened.sha256, student, settings, compute, run, seed, together).run()
        return None
    identity = identity_of(opened, teacher_path, student, seed)
    with run.locked():
        prepare(run, identity, settings, resume, force, RunDirectory(bank) if bank else None)
        together = processes.join(compute.device, strategy)
        if too_short := _too_short_for_chunks(opened, settings):
            console.err.print(too_short, soft_wrap=True)
        several = f" in {together.size} processes" if together.size > 1 else ""
        console.err.print(f"{teacher_path} -> {student} on {compute.summary()}{several}; recipe {recipe}{why}, "
                          f"seed {seed}", soft_wrap=True)
        work = DataFreeDistillation(opened.teacher, opened.sha256, student, settings, compute, run, seed, together)
        started = time.monotonic()
        try:
            network = _with_progress(work)
            verdict = work.verdict(network)
        except KeyboardInterrupt:
            console.err.print(f"\nInterrupted. {work.batches} batches and {work.finish_steps} finishing steps are kept "
                              f"in {run.path}: go on with the same command and --resume.", soft_wrap=True)
            raise
        provenance = run.identity() | {
            "recipe": settings.model_dump(mode="json"), "compute": compute.summary(),
            "seconds": {name: round(value, 1) for name, value in work.seconds.items()},
            "samples": len(work.bank), "verdict": verdict._asdict(),
        }
        checkpoints.save(out, network, opened.card, provenance)
        run.log({"verdict": verdict._asdict()})
    print_verdict(out, run.path, verdict, time.monotonic() - started, recipe, settings.inversion.batches,
                  settings.inversion.minutes, bank is not None)
    return verdict


def _too_short_for_chunks(opened: "OpenedTeacher", settings: "Recipe") -> str:
    """What is left out of FRAMI where clips are too short for it."""
    inversion, card = settings.inversion, opened.card
    if card.time_dependent or not inversion.finv_weight or inversion.most_chunks(card.frames):
        return ""
    return (f"Without T_finv (Eq. 2): clips of {card.frames} frames are too short for {inversion.min_chunks} chunks of "
            f"{inversion.min_chunk_frames} (inversion.min_chunk_frames).")


def _with_progress(work: Any) -> Any:
    """Run with a bar for each phase: the losses now, and the time left. In a log, a line now and then instead."""
    finish = work.recipe.distillation.finish.steps
    inversion = work.recipe.inversion
    started, before = time.monotonic(), sum(work.seconds.values())

    def done_of_samples(steps: int) -> int:
        """Seconds where there is a time budget, else steps."""
        if inversion.minutes:
            return round(before + time.monotonic() - started)
        return steps or work.planned_steps(work.batches)

    asked_for = 60 * inversion.minutes or work.planned_steps(inversion.batches)
    with console.progress() as bars:
        samples = bars.add_task("samples", losses="", completed=done_of_samples(0), total=asked_for)
        student = bars.add_task("student", total=finish, completed=work.finish_steps, losses="", start=False,
                                visible=finish > 0)

        def report(progress: "Progress") -> None:
            losses = " ".join(f"{name} {value:.3g}" for name, value in progress.losses.items()
                              if name not in ("total", "inversion"))
            told = [student if progress.phase == "finish" else samples]
            if progress.phase == "alternation":  # its time counts as that of the samples it follows
                bars.update(samples, losses=losses)
                if after := work.finish_takes():
                    bars.update(student, losses=f"after the samples, about {console.clock(after)}")
                    told.append(student)
            elif progress.phase == "synthesis":
                bars.update(samples, completed=done_of_samples(progress.done), losses=losses)
            else:
                bars.update(samples, completed=asked_for)  # a time budget is not used up, nor are another run's samples
                bars.start_task(student)
                bars.update(student, completed=progress.done, losses=losses)
            if progress.done % LOGGED_STEPS == 0:
                for bar in told:
                    console.log(bars, bar)

        return work.run(report)
