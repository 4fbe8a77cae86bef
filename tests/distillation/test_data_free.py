"""The whole of Algorithm 1 on a small problem: what it learns, and that nothing is lost when it is interrupted."""

import json
import math
from pathlib import Path

import bands
import pytest
import torch
from small_runs import make_run, make_teacher, quick
from torch import nn

from frami_edge import networks, recipe
from frami_edge.compute import choose
from frami_edge.distillation.data_free import DataFreeDistillation, Progress, taken_over
from frami_edge.distillation.distiller import Distiller, Lesson
from frami_edge.errors import FramiError
from frami_edge.inversion import views
from frami_edge.inversion.inverter import Inverter
from frami_edge.runs import RunDirectory
from frami_edge.teacher.taps import Teacher
from frami_edge.training import Settings, Training


def test_interrupted_and_resumed_is_the_same_student(tmp_path: Path) -> None:
    settings = quick("distillation.finish.steps=104", "inversion.refine_steps=2")
    whole = make_run(tmp_path / "whole", settings).run()

    class StopHereError(Exception):
        pass

    def stop_at(phase: str, done: int):  # type: ignore[no-untyped-def]
        def report(progress: Progress) -> None:
            if progress.phase == phase and progress.done >= done:
                raise StopHereError

        return report

    for phase, done in (("synthesis", 4), ("alternation", 8), ("finish", 102)):
        with pytest.raises(StopHereError):
            make_run(tmp_path / "parts", settings).run(stop_at(phase, done))
    resumed = make_run(tmp_path / "parts", settings).run()
    for (name, one), other in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def test_a_student_hears_in_recordings_what_its_teacher_hears(tmp_path: Path) -> None:
    """All of it together, without a recording for the student: the one thing that it is for."""
    torch.manual_seed(0)
    compute = choose("cpu", "float32")
    taught = Training(networks.build("wrn16", 3, 12), bands.bands(), bands.CARD,
                      Settings(epochs=6, batch_size=24, lr=0.05), compute).run()
    assert bands.accuracy(taught) > 0.95
    settings = recipe.load("quick", [
        "inversion.batches=3", "inversion.warmup_batches=2", "inversion.batch_size=24", "inversion.first_steps=60",
        "inversion.ngf=8", "distillation.batch_size=24", "distillation.alternate.steps=5",
        "distillation.finish.steps=80"])
    work = DataFreeDistillation(Teacher(taught, bands.CARD), "sha", "wrn16", settings, compute, RunDirectory(tmp_path),
                                0)
    student = work.run()
    assert bands.accuracy(student) > 0.9 and work.verdict(student).agreement > 0.9


def test_seed_decides(tmp_path: Path) -> None:
    settings = quick("distillation.finish.steps=0")
    first, again, other = (make_run(tmp_path / name, settings, seed).run().classifier.weight
                           for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_run_folder_tells_the_story(tmp_path: Path) -> None:
    work = make_run(tmp_path, quick())
    phases: list[str] = []
    student = work.run(lambda progress: phases.append(progress.phase))
    assert phases == (["synthesis"] * 5 + ["alternation"] * 3 + ["synthesis"] * 2 + ["alternation"] * 3
                      + ["finish"] * 4)
    assert work.recipe.inversion.planned_steps(3) == 7
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 4 and '"bn"' in lines[0] and '"frame_reuse"' in lines[2]
    assert len(work.bank) == 24
    verdict = work.verdict(student)
    assert verdict.samples == 16 and 0 <= verdict.agreement <= 1 and verdict.bn_gap > 0
    assert verdict.richness is None and 0 <= verdict.diversity <= 2  # half a second is too short to cut
    assert len(work.bank) == 24  # fresh samples do not go into it


def test_the_time_of_the_finish_is_told_once_a_student_has_learnt(tmp_path: Path) -> None:
    work = make_run(tmp_path, quick())
    told: list[tuple[str, int, float]] = []
    work.run(lambda progress: told.append((progress.phase, work.batches, work.finish_takes())))
    assert all(seconds > 0 if batches == 2 and phase != "finish" else seconds == 0 for phase, batches, seconds in told)
    learnt = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[1])
    assert told[-5][2] == pytest.approx(learnt["seconds"]["distillation"] * 4 / 3)  # 4 steps, at the pace of 3


def test_the_verdict_says_how_far_the_student_is_from_its_teacher(tmp_path: Path) -> None:
    teacher = make_teacher()
    work = make_run(tmp_path, quick(), teacher=teacher)
    work.run()
    same, other = networks.build("wrn16", 4), networks.build("wrn16", 4)
    same.load_state_dict(teacher.net.state_dict())
    assert work.verdict(same).agreement == 1 and work.verdict(same).divergence < 1e-9
    assert work.verdict(other).divergence > 0.1


def test_a_student_whose_answers_are_not_finite_gets_no_verdict(tmp_path: Path) -> None:
    """Its losses are finite: in training a BatchNorm does not look at what it keeps for inference."""
    work = make_run(tmp_path, quick())
    student = work.run()
    next(module for module in student.modules() if isinstance(module, nn.BatchNorm2d)).running_var.fill_(math.nan)
    with pytest.raises(FramiError, match="answers to fresh samples are not finite"):
        work.verdict(student)


def test_time_independent_sounds_get_the_time_term(tmp_path: Path) -> None:
    seen: list[dict[str, float]] = []
    make_run(tmp_path, quick("distillation.finish.steps=0"), teacher=make_teacher(False, 1.0)).run(
        lambda progress: seen.append(progress.losses) if progress.phase == "synthesis" else None)
    assert all("finv" in losses for losses in seen)
    assert "adversarial" not in seen[2] and "adversarial" in seen[3]  # off during warm-up
    time_dependent = make_run(tmp_path / "td", quick()).synthesizer
    assert isinstance(time_dependent, Inverter) and time_dependent.max_chunks == 0  # no T_finv


@pytest.mark.parametrize("time_dependent", [True, False])
def test_samples_are_warped_and_words_spliced_in_the_phase_that_says_so(
        time_dependent: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: dict[str, list[str]] = {"warp": [], "splice": []}
    work = make_run(tmp_path, quick("distillation.finish.splice=0.999", "distillation.replay=1"),
                    teacher=make_teacher(time_dependent))
    normalised: list[torch.Tensor] = []
    real_normalise = work.synthesizer.normalise
    monkeypatch.setattr(work.synthesizer, "normalise", lambda x: normalised.append(x) or real_normalise(x))
    made: list[torch.Tensor] = []

    def noting(name: str):  # type: ignore[no-untyped-def]
        real = getattr(views, name)

        def view(x: torch.Tensor, *how: float) -> torch.Tensor:
            done[name].append("finish" if work.finishing else "alternation")
            changed = real(x, *how)
            assert changed.shape == x.shape and not torch.equal(changed, x)
            made.append(changed)
            return changed

        return view

    for name in done:
        monkeypatch.setattr(views, name, noting(name))
    work.run()
    assert any(x is made[-1] for x in normalised)  # log-Mels, before whatever the teacher hears of them
    assert done == {"warp": ["finish"] * 4, "splice": ["finish"] * 4 if time_dependent else []}


def test_views_of_a_sample_learn_their_consensus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the phase that says so, four lessons in turn have other views of the same eight sounds, and one answer."""
    settings = quick("distillation.finish.consensus=4", "distillation.finish.mix=0.999", "distillation.replay=1",
                     "distillation.finish.warp_bands=0.0", "distillation.finish.warp_frames=0.0",
                     "distillation.views.shift=0.0", "distillation.views.mask_bands=0.0",
                     "distillation.views.mask_frames=0.0")
    work = make_run(tmp_path, settings)
    lessons: dict[bool, list[Lesson]] = {False: [], True: []}
    real = Distiller.learn
    monkeypatch.setattr(Distiller, "learn", lambda self, lesson: lessons[self is work.finishing].append(lesson)
                        or real(self, lesson))
    work.run()
    assert [len(lessons[finishing]) for finishing in (False, True)] == [6, 4]
    for finishing, heard in lessons.items():
        sounds, answers = torch.stack([x for x, _, _ in heard[:4]]), torch.stack([y for _, y, _ in heard[:4]])
        apart = (sounds[1:] - sounds[:1]).square().mean((1, 2, 3)).sqrt()
        assert (((apart > 0) & (apart < 0.1)) == finishing).all()  # of noise alone
        assert torch.equal(answers, answers[:1].expand_as(answers)) is finishing
        assert (sounds[0][1:] - sounds[0][:1]).abs().amax((1, 2)).min() > 0.1  # other sounds within a lesson
    expected = torch.stack([work.teacher(x).softmax(1) for x, _, _ in lessons[True]]).mean(0)
    torch.testing.assert_close(lessons[True][0].logits.exp(), expected, rtol=1e-4, atol=1e-5)


def test_the_samples_of_an_earlier_versions_run_are_refused_by_name() -> None:
    with pytest.raises(FramiError, match="another version"):
        taken_over({"batches": 24, "synthesizer": {}, "finishing": {}}, recipe.load("quick").inversion)


def test_samples_that_were_lost_are_told(tmp_path: Path) -> None:
    """A run with fewer samples than it made would be another run."""
    work = make_run(tmp_path, quick())
    work.run()
    (tmp_path / "bank" / "batch-00001.pt").unlink()
    with pytest.raises(FramiError, match=r"has lost batch-00001.pt \(1 in all\)"):
        make_run(tmp_path, quick())


def test_samples_of_two_processes_serve_one(tmp_path: Path) -> None:
    work = make_run(tmp_path, quick())
    work.run()
    run = RunDirectory(tmp_path)
    state = run.load()
    assert state is not None
    two = state | {"processes": [state["processes"][0], state["processes"][0]]}
    run.save(two)
    with pytest.raises(FramiError, match="another number of processes"):  # the run itself goes on as it was started
        make_run(tmp_path, quick())
    run.save(taken_over(two, quick().inversion))
    again = make_run(tmp_path, quick())
    again.run()
    assert again.complete and again.finish_steps == 4 and len(again.bank) == 24
