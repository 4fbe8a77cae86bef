"""What a step of distillation costs, per method, and how much faster it is than the loop of the published repositories.

    python benchmarks/distill.py [--seconds 1] [--rounds 5] [--methods frami cmi fastdfkd adi] [--teacher wrn40]

Each round times one inversion step and one KD step of ours and of the plain loop (benchmarks/plain.py), in turn in one
process, so a slow spell of the machine meets both. Weights are not trained; that does not change the time.
Steps that refine samples are not among them: one costs what a step with one teacher pass does, without a source.
Prints two Markdown tables. The interval holds 95 % of the ratios of bootstrapped rounds.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from plain import PlainLoop

from frami_edge import networks, recipe
from frami_edge.card import Clip, MelSpec, Normalisation, TeacherCard
from frami_edge.compute import Compute, choose
from frami_edge.distillation.distiller import Distiller, Replay
from frami_edge.inversion import batch_norm
from frami_edge.inversion.bank import Bank, Samples
from frami_edge.inversion.inverter import Inverter
from frami_edge.inversion.synthesizer import make_synthesizer
from frami_edge.teacher.taps import Teacher

STEPS = 2  # of one call of ours, so that what is done once a batch is in it with its share of a recipe's ten
RESAMPLES = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--methods", nargs="+", default=["frami", "cmi", "fastdfkd", "adi"])
    parser.add_argument("--teacher", default="wrn40")
    parser.add_argument("--student", default="wrn16")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--time-dependent", action="store_true", help="without T_finv and rolling")
    given = parser.parse_args()
    compute = choose()
    teacher = make_teacher(given.teacher, given.seconds, given.time_dependent)
    print(f"{given.teacher} -> {given.student}, batch {given.batch_size}, {given.seconds:g} s, "
          f"{'time-dependent' if given.time_dependent else 'time-independent'}; {compute.summary()}, "
          f"torch {torch.__version__}; medians of {given.rounds} rounds\n")
    print("| step | ours, s | samples/s | plain, s | ratio | 95 % | teacher | source | student | rest |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for method in given.methods:
            print(inversion_row(method, teacher, given, compute, Path(folder) / method), flush=True)
        print(kd_row(teacher, given, compute), flush=True)


def make_teacher(name: str, seconds: float, time_dependent: bool) -> Teacher:
    torch.manual_seed(0)
    net = networks.build(name, 10)
    with torch.no_grad():
        net.train()(torch.randn(8, 40, 50))
    frontend = MelSpec(normalisation=Normalisation(kind="global", mean=-4.0, std=4.0))
    return Teacher(net, TeacherCard(labels=tuple("abcdefghij"), time_dependent=time_dependent, frontend=frontend,
                                    clip=Clip(seconds=seconds, preparation="crop")))


def inversion_row(method: str, teacher: Teacher, given: argparse.Namespace, compute: Compute, folder: Path) -> str:
    """Time one method's inversion step against the plain loop's."""
    settings = recipe.load("quick" if method == "frami" else method, [
        f"inversion.batch_size={given.batch_size}", f"inversion.steps={STEPS}", f"inversion.first_steps={STEPS}",
        "inversion.refine_steps=0", "inversion.ngf=32"])  # the same generator for both sides and all methods
    student = networks.build(given.student, 10).eval().requires_grad_(False)
    plain = PlainLoop(teacher, networks.build(given.student, 10), settings)
    ours = make_synthesizer(compute.place(teacher), settings.inversion, compute)
    assert isinstance(ours, Inverter)
    compute.place(student)
    bank = filled_bank(folder, teacher, ours, settings.inversion.negatives)
    times = interleave([lambda: ours.synthesize(student, bank), plain.inversion_step], given.rounds)
    times[:, 0] /= STEPS
    passes = 1 + bool(settings.inversion.contrast_weight) + (ours.max_chunks >= settings.inversion.min_chunks)
    parts = parts_of_inversion(ours, student, compute, given.rounds)
    parts["teacher"] += (passes - 1) * parts.pop("teacher again")
    return row(f"inversion, {method} ({passes} teacher {'passes' if passes > 1 else 'pass'})", times,
               given.batch_size, parts)


def kd_row(teacher: Teacher, given: argparse.Namespace, compute: Compute) -> str:
    """Time a KD step with replay, as `quick` has it, against the plain loop's; without reuse losses."""
    settings = recipe.load("quick", [f"inversion.batch_size={given.batch_size}"])
    phase = settings.distillation.finish
    distiller = Distiller(teacher, networks.build(given.student, 10), settings.distillation, phase, 10**6, compute)
    plain = PlainLoop(teacher, networks.build(given.student, 10), settings)
    x = torch.randn(given.batch_size, 40, teacher.card.frames)
    times_replayed = settings.distillation.replay

    def ours() -> None:
        replay = Replay(times_replayed)
        for _ in range(times_replayed):
            if replay.wanted():
                replay.add([distiller.ask(x)])
            distiller.learn(replay.draw())

    times = interleave([ours, lambda: plain.kd_step(x)], given.rounds)
    times[:, 0] /= times_replayed
    lesson = distiller.ask(x)
    parts = interleave([lambda: distiller.ask(x), lambda: distiller.learn(lesson)], given.rounds)
    teacher_share, student_share = np.median(parts, axis=0)
    return row(f"KD, replay {times_replayed}", times, given.batch_size,
               {"teacher": teacher_share / times_replayed, "source": 0.0, "student": student_share})


def parts_of_inversion(ours: Inverter, student: torch.nn.Module, compute: Compute, rounds: int) -> dict[str, float]:
    """Median seconds of a pass with statistics through the teacher, one without, the source, and the student."""
    ours.source.begin()
    x = ours.normalise(ours.source.draw()).detach().requires_grad_()

    def teacher() -> None:
        with compute.autocast(), batch_norm.recording(ours.teacher) as statistics:
            logits = ours.teacher(x)
        (batch_norm.bn_loss(statistics, ours.target) + logits.sum()).backward()

    def teacher_again() -> None:
        ours.embed(x).sum().backward()

    def source() -> None:
        ours.source.draw().sum().backward()
        ours.source.step()

    def adversary() -> None:
        with compute.autocast():
            logits = student(x)
        logits.float().sum().backward()

    times = np.median(interleave([teacher, teacher_again, source, adversary], rounds), axis=0)
    return dict(zip(("teacher", "teacher again", "source", "student"), times.tolist(), strict=True))


def filled_bank(folder: Path, teacher: Teacher, ours: Inverter, count: int) -> Bank:
    """A bank that has as many negatives as the recipe draws."""
    bank = Bank(folder, "benchmark", 10**6)
    if count:
        log_mel = torch.full((count, teacher.card.frontend.n_mels, teacher.card.frames), -4.0)
        with torch.no_grad():
            width = ours.embed(log_mel[:2]).shape[1]
        bank.add(0, Samples(log_mel, torch.zeros(count, dtype=torch.long), torch.randn(count, width)))
    return bank


def interleave(calls: list[Callable[[], Any]], rounds: int) -> np.ndarray[Any, np.dtype[Any]]:
    """Seconds of each call, (rounds, calls), after one round to warm up."""
    for call in calls:
        call()
    times = np.zeros((rounds, len(calls)))
    for round_, (index, call) in itertools.product(range(rounds), enumerate(calls)):
        started = time.perf_counter()
        call()
        times[round_, index] = time.perf_counter() - started
    return times


def row(name: str, times: np.ndarray[Any, np.dtype[Any]], batch_size: int, parts: dict[str, float]) -> str:
    ours, plain = np.median(times, axis=0)
    generator = np.random.default_rng(0)
    picked = times[generator.integers(len(times), size=(RESAMPLES, len(times)))]
    medians = np.median(picked, axis=1)
    low, high = np.quantile(medians[:, 1] / medians[:, 0], [0.025, 0.975])
    shares = {part: seconds / ours for part, seconds in parts.items()}
    rest = max(0.0, 1 - sum(shares.values()))
    cells = [name, f"{ours:.2f}", f"{batch_size / ours:.0f}", f"{plain:.2f}", f"{plain / ours:.2f}",
             f"{low:.2f} to {high:.2f}", *(f"{shares[part]:.0%}" for part in ("teacher", "source", "student")),
             f"{rest:.0%}"]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
