"""Algorithm 1: synthesis and distillation in turn, then a fresh student over the whole bank."""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch

from frami_edge import networks
from frami_edge.compute import Compute
from frami_edge.distillation.distiller import Distiller, Lesson, Replay
from frami_edge.distillation.verdict import FRESH_BATCHES, Verdict, judge
from frami_edge.errors import FramiError
from frami_edge.inversion import views
from frami_edge.inversion.bank import Bank
from frami_edge.inversion.batch_norm import constant_channels_limited
from frami_edge.inversion.synthesizer import Synthesizer, make_synthesizer
from frami_edge.networks.base import Network
from frami_edge.processes import ALONE, Alone
from frami_edge.recipe import Inversion, Phase, Recipe
from frami_edge.runs import RunDirectory
from frami_edge.teacher.taps import Teacher

SECTION = 100  # steps of the finishing phase between checkpoints
OTHER_SEED = 1_000_003  # between the seeds of two processes
NEWEST = 0.25  # half of each batch of the alternation comes from this newest share of the bank


class Progress(NamedTuple):
    """Told to the caller after each step."""

    phase: str  # "synthesis", "alternation" or "finish"
    done: int  # steps of this phase, over the whole run
    total: int
    losses: dict[str, float]


Report = Callable[[Progress], None]
Make = Callable[[Teacher, Inversion, Compute], Synthesizer]


class DataFreeDistillation:
    """One run: give it a teacher and a recipe, and it gives a student.

    Args:
        run: its folder; a checkpoint in it is gone on from.
        seed: of everything random. On one machine's CPU it gives the same student again, also when interrupted.
        processes: that share the work: each synthesizes its own batches for the bank, and all learn together.
        synthesizer: makes the one that makes the samples; by default that of the recipe's ``inversion.method``.
    """

    def __init__(self, teacher: Teacher, teacher_sha256: str, student: str, recipe: Recipe, compute: Compute,
                 run: RunDirectory, seed: int, processes: Alone = ALONE, synthesizer: Make = make_synthesizer) -> None:
        torch.manual_seed(seed + OTHER_SEED * processes.rank)
        self.processes = processes
        self.recipe, self.compute, self.run_directory = recipe, compute, run
        self.teacher, self.card, self.student_name = compute.place(teacher), teacher.card, student
        self.synthesizer = synthesizer(self.teacher, recipe.inversion, compute)
        self.bank = Bank(run.bank, teacher_sha256, recipe.inversion.bank_samples)
        settings, inversion = recipe.distillation, recipe.inversion
        taught = max(0, inversion.batches - inversion.warmup_batches)
        # how many batches a time budget allows is not known beforehand, nor is the length of a schedule then
        self.alternating = self._distiller(settings.alternate, taught * settings.alternate.steps,
                                           "constant" if inversion.minutes else "cosine")
        self.finishing: Distiller | None = None
        self.batches = self.finish_steps = 0
        self.complete = False  # the bank is that of another run, and no sample is to be added
        self.seconds = {"synthesis": 0.0, "distillation": 0.0}
        state = run.load()
        if state is not None:
            self._restore(state)
        self.bank.drop_from(self.batches)
        if state is not None:
            self.bank.require(state.get("bank", ()))
        processes.wait()  # no file of the bank is dropped by one that another has just made

    def run(self, report: Report = lambda progress: None) -> Network:
        """The whole of it; returns the student of the last step, in eval mode on the CPU."""
        finish = self.recipe.distillation.finish
        with self._limited():
            while self._synthesizing():
                self._one_batch(report)
            if not self.complete:  # of a time budget nothing else would tell
                self.complete = True
                self._save()
            while self.finish_steps < finish.steps:
                self._one_section(finish, report)
        if not self.finishing and self.batches <= self.recipe.inversion.warmup_batches:
            raise FramiError(f"The time was over after {self.batches} batches, and the student learns after "
                             f"{self.recipe.inversion.warmup_batches} alone; this recipe has no finishing phase.",
                             "Take a longer --budget, fewer inversion.warmup_batches, or some "
                             "distillation.finish.steps.")
        student = self.finishing.student if self.finishing else self.alternating.student
        return student.eval().cpu()

    def _synthesizing(self) -> bool:
        """Whether another batch is due: by their number, or by the time that all sessions of the run have taken.

        A time budget ends the first batch early, if need be; another one is begun only where it can be whole.
        """
        inversion = self.recipe.inversion
        if self.complete:
            return False
        if inversion.minutes:
            return self.processes.agreed(not self.batches or self._next_takes() <= self._seconds_left())
        return self.batches < inversion.batches

    def _seconds_left(self) -> float:
        """Of the time budget; infinite without one."""
        minutes = self.recipe.inversion.minutes
        return 60 * minutes - sum(self.seconds.values()) if minutes else math.inf

    def _next_takes(self) -> float:
        """Seconds that the next batch will take, as the steps before it did on average."""
        steps = self.recipe.inversion.steps_of(self.batches // self.processes.size) * self.processes.size
        return sum(self.seconds.values()) / self.planned_steps(self.batches) * steps

    def planned_steps(self, batches: int) -> int:
        """Steps that ``batches`` batches take, those of all processes: the first one of each takes longer."""
        size = self.processes.size
        return size * self.recipe.inversion.planned_steps(-(-batches // size))

    def finish_takes(self) -> float:
        """Seconds that the finishing phase will take at the alternation's pace; 0 without one, or once it has begun."""
        settings = self.recipe.distillation
        lessons = (self.batches - self.recipe.inversion.warmup_batches) * settings.alternate.steps
        if lessons <= 0 or self.finishing:
            return 0.0
        return settings.finish.steps * self.seconds["distillation"] / lessons

    def verdict(self, student: Network) -> Verdict:
        """Judge a student on fresh samples, without a recording; they take no more than half of a time budget."""
        allowed = 60 * self.recipe.inversion.minutes / (2 * FRESH_BATCHES)
        with self._limited():
            return judge(student, self.synthesizer, self.bank, allowed or math.inf)

    def _limited(self) -> AbstractContextManager[None]:
        return constant_channels_limited(self.teacher, self.recipe.inversion.constant_channel_limit)

    def _one_batch(self, report: Report) -> None:
        """One epoch of Algorithm 1: each process synthesizes a batch, then the student learns from the bank."""
        inversion, phase = self.recipe.inversion, self.recipe.distillation.alternate
        warm = self.batches < inversion.warmup_batches
        started = time.monotonic()
        student = self.alternating.student.eval().requires_grad_(False)
        size = self.processes.size
        planned = self.batches + size if inversion.minutes else inversion.batches
        before, total = self.planned_steps(self.batches), self.planned_steps(planned)
        made = self.synthesizer.synthesize(None if warm else student, self.bank, lambda done, losses: report(
            Progress("synthesis", before + size * done, total, losses)), until=started + self._seconds_left())
        student.requires_grad_(True)
        mine = self.batches + self.processes.rank
        if not self.bank.add(mine, made.samples):
            raise FramiError("A synthesized batch held no finite sample.", "Try --precision float32.")
        self.processes.wait()
        self.bank.take_up(index for index in range(self.batches, self.batches + size) if index != mine)
        synthesized = time.monotonic()
        taught: dict[str, float] = {}
        if not warm:
            taught = self._teach(self.alternating, size * phase.steps, NEWEST, lambda done, losses: report(
                Progress("alternation", self.batches * phase.steps + done, planned * phase.steps, losses)))
        self.seconds["synthesis"] += synthesized - started
        self.seconds["distillation"] += time.monotonic() - synthesized
        self.batches += size
        self._log({"batch": self.batches, "synthesis": made.losses, "distillation": taught,
                   "seconds": self.seconds})
        self._save()
        if self.processes.rank == 0:
            self.bank.tidy()

    def _one_section(self, phase: Phase, report: Report) -> None:
        """Some steps of the finishing phase."""
        if self.finishing is None:
            self.finishing = self._distiller(phase, phase.steps, "one-cycle")
        steps, started = min(SECTION, phase.steps - self.finish_steps), time.monotonic()
        losses = self._teach(self.finishing, steps, 0.0, lambda done, losses: report(
            Progress("finish", self.finish_steps + done, phase.steps, losses)))
        self.finish_steps += steps
        self.seconds["distillation"] += time.monotonic() - started
        self._log({"finish_step": self.finish_steps, "distillation": losses, "seconds": self.seconds})
        self._save()

    def _teach(self, distiller: Distiller, steps: int, newest: float,
               told: Callable[[int, dict[str, float]], None]) -> dict[str, float]:
        """``steps`` steps on views of the bank; returns the mean losses of the last half."""
        # the replay starts empty each time: a resumed run then goes exactly as one that was never interrupted
        replay = Replay(self.recipe.distillation.replay)
        kept: list[dict[str, float]] = []
        for step in range(steps):
            if replay.wanted():
                replay.add(self._lessons(distiller, newest))
            kept.append(distiller.learn(replay.draw()))
            told(step + 1, kept[-1])
        self.processes.share_buffers(distiller.student)  # L_adv asks it here, and one checkpoint stands for all
        late = kept[len(kept) // 2:]
        return {name: sum(losses[name] for losses in late) / len(late) for name in late[0]} if late else {}

    def _lessons(self, distiller: Distiller, newest: float) -> list[Lesson]:
        """A batch of samples in as many lessons as the phase has views of each: no lesson has a sample twice.

        A batch of fewer sounds in more views was tried: with 8 in 64 rows the student became worse than without.
        """
        share = -(-self.recipe.distillation.batch_size // self.processes.size)
        phase = distiller.phase
        log_mel, _ = self.bank.draw(share, newest)
        log_mel = log_mel.to(self.compute.device).repeat_interleave(phase.consensus, dim=0)
        # these two while they are Mel bands: coefficients of a cepstrum have no neighbours to be stretched among
        if phase.warp_bands or phase.warp_frames:
            log_mel = views.warp(log_mel, phase.warp_bands, phase.warp_frames)
        if self.card.time_dependent and float(torch.rand(())) < phase.splice:
            log_mel = views.splice(log_mel, phase.consensus)
        x = views.training_view(self.synthesizer.normalise(log_mel), self.card.time_dependent,
                                self.synthesizer.silence(log_mel), self.recipe.distillation.views)
        if float(torch.rand(())) < phase.mix:
            x = views.mix(x, phase.consensus)
        return distiller.ask(x).split(phase.consensus)

    def _distiller(self, phase: Phase, steps: int, schedule: str) -> Distiller:
        student = networks.build_student(self.student_name, self.card.classes, self.card.frontend.rows)
        return Distiller(self.teacher, student, self.recipe.distillation, phase, steps, self.compute, schedule,
                         self.processes)

    def _log(self, event: dict[str, Any]) -> None:
        if self.processes.rank == 0:
            self.run_directory.log(event)

    def _save(self) -> None:
        """One checkpoint for all processes, so that an interruption never leaves them at different batches."""
        own = self.processes.gathered(self._own_state())
        if self.processes.rank == 0:
            self.run_directory.save(self._state(own))

    def _own_state(self) -> dict[str, Any]:
        """What each process has for itself."""
        state = {"synthesizer": self.synthesizer.state_dict(), "random": torch.get_rng_state()}
        if self.compute.device.type == "cuda":
            state["random_cuda"] = torch.cuda.get_rng_state(self.compute.device)
        return state

    def _state(self, own: list[dict[str, Any]]) -> dict[str, Any]:
        state = {"batches": self.batches, "finish_steps": self.finish_steps, "seconds": self.seconds,
                 "complete": self.complete, "alternating": self.alternating.state_dict(), "processes": own,
                 "bank": self.bank.indices()}
        if self.finishing is not None:
            state["finishing"] = self.finishing.state_dict()
        return state

    def _restore(self, state: dict[str, Any]) -> None:
        self.batches, self.finish_steps, self.seconds = state["batches"], state["finish_steps"], state["seconds"]
        own = state.get("processes", ())
        begun = "alternating" in state  # else it is what taken_over made, and any number of processes may begin
        older = begun and "optimizers" not in state["alternating"]
        if not own or older or (begun and len(own) != self.processes.size):
            raise FramiError(f"{self.run_directory.checkpoint} is that of another version, or of another number of "
                             "processes.", "Resume with as many --devices as it was started with.")
        own = own[self.processes.rank % len(own)]
        self.synthesizer.load_state_dict(own["synthesizer"])
        self.complete = state.get("complete", False)
        if begun:
            self.alternating.load_state_dict(state["alternating"])
        finish = self.recipe.distillation.finish
        if "finishing" in state:
            self.finishing = self._distiller(finish, finish.steps, "one-cycle")
            self.finishing.load_state_dict(state["finishing"])
        if "random" in own:
            torch.set_rng_state(own["random"])  # last: building networks draws random numbers
        if "random_cuda" in own:
            torch.cuda.set_rng_state(own["random_cuda"], self.compute.device)


def taken_over(state: dict[str, Any], inversion: Inversion) -> dict[str, Any]:
    """The checkpoint from which another student starts on the bank of a run whose checkpoint is ``state``.

    Samples and synthesizer (for the verdict's fresh samples) are taken over, nothing of the student or of chance.

    Raises:
        FramiError: the run has not made all of its samples.
    """
    if "processes" not in state:
        raise FramiError("It is a run of another version of frami-edge.", "Make its samples anew, without --bank.")
    made = state.get("complete") or "finishing" in state or (
        state["batches"] >= inversion.batches and not inversion.minutes)
    if not made:
        raise FramiError(f"It has {state['batches']} batches, and is not done with its samples.",
                         "Go on with it first: the command that started it, with --resume.")
    own = [{"synthesizer": process["synthesizer"]} for process in state["processes"]]
    return {"batches": state["batches"], "finish_steps": 0, "complete": True, "processes": own,
            "bank": state.get("bank", []),
            "seconds": {"synthesis": state["seconds"]["synthesis"], "distillation": 0.0}}
