"""The whole of Algorithm 1 on a small problem: what it learns, and that nothing is lost when it is interrupted."""

import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest
import small
import torch
from hypothesis import given
from hypothesis import strategies as st

from frami_edge import networks, recipe
from frami_edge.card import Clip, TeacherCard
from frami_edge.compute import choose
from frami_edge.distillation import data_free, verdict
from frami_edge.distillation.data_free import DataFreeDistillation, Progress, taken_over
from frami_edge.distillation.distiller import Distiller, Lesson, Replay
from frami_edge.errors import FramiError
from frami_edge.inversion import inverter, views
from frami_edge.inversion.bank import Bank
from frami_edge.inversion.inverter import Inverter
from frami_edge.inversion.synthesizer import Labels, Synthesizer, make_synthesizer
from frami_edge.processes import Alone
from frami_edge.recipe import Recipe
from frami_edge.runs import RunDirectory
from frami_edge.teacher.taps import Teacher

VALUES = (*small.VALUES, "inversion.first_steps=3", "distillation.alternate.steps=3", "distillation.finish.steps=4",
          "distillation.finish.frame_reuse=0.1")


def quick(*more: str) -> Recipe:
    return recipe.load("quick", [*VALUES, *more])


def make_teacher(time_dependent: bool = True, seconds: float = 0.5) -> Teacher:
    """A WRN-16-1 with statistics of noise: not trained, but with everything the losses look at."""
    torch.manual_seed(0)
    net = networks.build("wrn16", 4)
    with torch.no_grad():
        for _ in range(5):
            net.train()(torch.randn(8, 40, 50) - 9)
    preparation = "center-pad" if time_dependent else "crop"
    return Teacher(net, TeacherCard(labels=("a", "b", "c", "d"), time_dependent=time_dependent,
                                    clip=Clip(seconds=seconds, preparation=preparation)))


def make_run(folder: Path, settings: Recipe, seed: int = 0, teacher: Teacher | None = None) -> DataFreeDistillation:
    return DataFreeDistillation(teacher or make_teacher(), "sha", "wrn16", settings, choose("cpu", "float32"),
                                RunDirectory(folder), seed)


def test_interrupted_and_resumed_is_the_same_student(tmp_path: Path) -> None:
    settings = quick("distillation.finish.steps=104")
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


def test_the_verdict_says_how_far_the_student_is_from_its_teacher(tmp_path: Path) -> None:
    teacher = make_teacher()
    work = make_run(tmp_path, quick(), teacher=teacher)
    work.run()
    same, other = networks.build("wrn16", 4), networks.build("wrn16", 4)
    same.load_state_dict(teacher.net.state_dict())
    assert work.verdict(same).agreement == 1 and work.verdict(same).divergence < 1e-9
    assert work.verdict(other).divergence > 0.1


def test_time_independent_sounds_get_the_time_term(tmp_path: Path) -> None:
    seen: list[dict[str, float]] = []
    make_run(tmp_path, quick("distillation.finish.steps=0"), teacher=make_teacher(False, 1.0)).run(
        lambda progress: seen.append(progress.losses) if progress.phase == "synthesis" else None)
    assert all("finv" in losses for losses in seen)
    assert "adversarial" not in seen[2] and "adversarial" in seen[3]  # off during warm-up
    time_dependent = make_run(tmp_path / "td", quick()).synthesizer
    assert isinstance(time_dependent, Inverter) and time_dependent.max_chunks == 0  # no T_finv


def synthesizer(*more: str, teacher: Teacher | None = None) -> Synthesizer:
    torch.manual_seed(0)
    return make_synthesizer(teacher or make_teacher(), quick(*more).inversion, choose("cpu", "float32"))


def test_inversion_lowers_its_losses(tmp_path: Path) -> None:
    """Thirty steps bring the BatchNorm gap and the cross-entropy far below those of a generator just drawn."""
    bank = Bank(tmp_path, "sha", 100)
    start = synthesizer("inversion.first_steps=1").synthesize(None, bank).losses
    end = synthesizer("inversion.first_steps=30").synthesize(None, bank).losses
    assert end["bn"] < 0.6 * start["bn"]
    assert end["inversion"] < 0.6 * start["inversion"]


def test_the_kept_batch_is_the_one_that_was_measured(tmp_path: Path) -> None:
    """The trap of CMI's code: keeping the best batch without a clone gives the last iterate."""
    maker = synthesizer("inversion.first_steps=12", "inversion.lr_generator=0.5", "inversion.bn_momentum=0.0")
    made = maker.synthesize(None, Bank(tmp_path, "sha", 100))
    with torch.no_grad():
        logits = maker.teacher(maker.normalise(made.samples.log_mel))
    cross_entropy = torch.nn.functional.cross_entropy(logits, made.samples.labels)
    assert float(cross_entropy) == pytest.approx(made.losses["class"], rel=1e-3)


def test_samples_have_the_clip_preparation_exactly(tmp_path: Path) -> None:
    maker = synthesizer()
    log_mel = maker.synthesize(None, Bank(tmp_path, "sha", 100)).samples.log_mel
    silent = (log_mel == maker.card.frontend.log_floor).all(1)  # (batch, frames)
    assert silent[:, 0].float().mean() > 0.6 and not silent[:, 25].any()
    without = synthesizer("inversion.prepare=false").synthesize(None, Bank(tmp_path, "sha", 100)).samples.log_mel
    assert not (without == maker.card.frontend.log_floor).all(1).any()


def test_the_student_is_not_trained_by_the_inversion(tmp_path: Path) -> None:
    student = networks.build("wrn16", 4).eval().requires_grad_(False)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    synthesizer().synthesize(student, Bank(tmp_path, "sha", 100))
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_a_teacher_without_batch_norm_is_refused() -> None:
    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.out = torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.Linear(160, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.conv(x).flatten(1, 2).mean(2))

    with pytest.raises(FramiError, match="no BatchNorm"):
        synthesizer(teacher=Teacher(Plain(), make_teacher().card))


def test_a_student_learns_its_teacher() -> None:
    """On a fixed set of inputs the divergence falls to a fraction, with both reuse losses on."""
    teacher, settings = make_teacher(), quick().distillation
    assert isinstance(teacher.net, networks.Network)
    teacher.net.classifier.weight.mul_(30)  # so that its answers differ
    phase = settings.alternate.model_copy(update={"temperature": 4.0})
    distiller = Distiller(teacher, networks.build("wrn16", 4), settings, phase, 40, choose("cpu", "float32"))
    lesson = distiller.ask(torch.randn(16, 40, 50) - 9 + torch.randn(16, 40, 1))
    history = [distiller.learn(lesson) for _ in range(40)]
    assert history[-1]["kd"] < 0.2 * history[0]["kd"]
    assert history[-1]["frame_reuse"] < history[0]["frame_reuse"]
    assert history[-1]["utterance_reuse"] < history[0]["utterance_reuse"]


def test_clipped_gradients_keep_the_first_steps_of_a_resnet_from_blowing_up() -> None:
    """At the rate and temperature of the alternation; as in tests/test_training.py."""
    teacher, settings = make_teacher(), quick().distillation
    assert isinstance(teacher.net, networks.Network)
    teacher.net.classifier.weight.mul_(30)
    worst = {}
    for clip_norm in (0.0, 1.0):
        torch.manual_seed(0)
        phase = settings.alternate.model_copy(update={"clip_norm": clip_norm})
        distiller = Distiller(teacher, networks.build("res18", 4), settings, phase, 40, choose("cpu", "float32"))
        lesson = distiller.ask(torch.randn(8, 40, 50) - 9 + torch.randn(8, 40, 1))
        worst[clip_norm] = max(distiller.learn(lesson)["kd"] for _ in range(5))
    assert worst[0.0] > 5 * worst[1.0]


def test_replay_asks_the_teacher_every_third_time() -> None:
    replay = Replay(3)
    wanted = []
    for _ in range(9):
        wanted.append(replay.wanted())
        if wanted[-1]:
            replay.add([Lesson(torch.zeros(1), torch.zeros(1), None)])
        replay.draw()
    assert wanted == [True, False, False] * 3 and len(replay.lessons) == 3


def test_lessons_of_one_teacher_pass_come_once_each_before_any_comes_again() -> None:
    replay, x = Replay(2), torch.arange(8.0)
    lessons = Lesson(x, 10 * x, 100 * x).split(4)
    assert [lesson.x.tolist() for lesson in lessons] == [[0, 4], [1, 5], [2, 6], [3, 7]]
    assert all(torch.equal(10 * lesson.x, lesson.logits) and lesson.frames is not None
               and torch.equal(100 * lesson.x, lesson.frames) for lesson in lessons)
    replay.add(lessons)
    drawn = [replay.draw() for _ in range(8)]
    assert [lesson.x.tolist() for lesson in drawn[:4]] == [lesson.x.tolist() for lesson in lessons]
    assert replay.wanted() and len(replay.lessons) == 4


@given(st.integers(1, 40), st.integers(2, 60), st.integers(1, 12))
def test_labels_are_balanced(count: int, classes: int, batches: int) -> None:
    """Within each batch; over all batches where one has no room for each class."""
    labels = Labels(classes)
    drawn = [labels.draw(count) for _ in range(batches)]
    assert all(len(batch) == count for batch in drawn)
    for part in [torch.cat(drawn)] if classes > count else drawn:
        counts = part.bincount(minlength=classes)
        assert len(counts) == classes and counts.max() - counts.min() <= 1


def test_classes_that_wait_for_a_batch_are_carried_over_an_interruption() -> None:
    teacher = make_teacher()
    settings = quick("inversion.batch_size=3").inversion  # of four classes
    one, other = (make_synthesizer(teacher, settings, choose("cpu", "float32")) for _ in range(2))
    assert isinstance(one, Inverter) and isinstance(other, Inverter)
    first = one.labels.draw(3)
    other.load_state_dict(one.state_dict())
    assert set(range(4)) - set(first.tolist()) == {int(other.labels.draw(3)[0])}


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


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by 0.03 s when it is looked at: a busy machine makes no fewer batches."""
    looks = itertools.count()
    looked_at = SimpleNamespace(monotonic=lambda: 0.03 * next(looks))
    for module in (data_free, inverter, verdict):
        monkeypatch.setattr(module, "time", looked_at)


@pytest.mark.usefixtures("clock")
def test_a_time_budget_ends_the_synthesis_and_counts_over_sessions(tmp_path: Path) -> None:
    """Batches are made as long as another one can be whole, also after an earlier session; then comes the finish."""
    work = make_run(tmp_path, quick("inversion.minutes=0.02", "inversion.batches=1"))
    work.run()
    assert 1 < work.batches < 20
    assert work.finish_steps == 4 and len(work.bank) == 8 * work.batches
    made = work.batches
    again = make_run(tmp_path, quick("inversion.minutes=0.02", "inversion.batches=1"))
    again.run()
    assert again.batches == made


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("method", ["adi", "cmi"])
def test_a_time_budget_ends_a_first_batch_that_takes_longer(method: str, tmp_path: Path) -> None:
    """Which for methods that optimise each batch anew may be hours; the verdict's fresh batches are as short."""
    endless = [f"inversion.{key}=1000000" for key in ("steps", "first_steps")]
    work = make_run(tmp_path, recipe.load(method, [*VALUES, *endless, "inversion.minutes=0.02"]))
    steps = []
    student = work.run(lambda progress: steps.append(progress.done) if progress.phase == "synthesis" else None)
    assert work.batches == 1 and len(work.bank) == 8
    assert len(steps) == pytest.approx(1.2 / 0.03, abs=2) and work.seconds["synthesis"] < 1.5  # a look at each step
    assert work.finish_steps == 4
    assert work.verdict(student).samples == 16


def test_time_that_was_over_before_the_first_lesson_is_told(tmp_path: Path) -> None:
    """As `paper` with a short budget: what it would save has learned nothing."""
    work = make_run(tmp_path, quick("distillation.finish.steps=0", "inversion.warmup_batches=500",
                                    "inversion.minutes=0.001"))
    with pytest.raises(FramiError, match="learns after 500 alone") as raised:
        work.run()
    assert "--budget" in raised.value.hint


def test_a_student_that_diverges_is_told_and_kept(tmp_path: Path) -> None:
    teacher, settings = make_teacher(), quick().distillation
    student = networks.build("wrn16", 4)
    distiller = Distiller(teacher, student, settings, settings.alternate, 40, choose("cpu", "float32"))
    lesson = distiller.ask(torch.randn(8, 40, 50) - 9)
    before = [weight.detach().clone() for weight in student.parameters()]
    with pytest.raises(FramiError, match="not finite") as raised:
        distiller.learn(lesson._replace(logits=lesson.logits * float("inf")))
    assert "lr=" in raised.value.hint
    assert all(torch.equal(old, new) for old, new in zip(before, student.parameters(), strict=True))


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


class Two(Alone):
    size = 2


def test_the_first_batch_of_each_process_takes_longer(tmp_path: Path) -> None:
    work = make_run(tmp_path, quick("inversion.batches=6"))
    assert [work.planned_steps(batches) for batches in (0, 1, 2, 6)] == [0, 3, 5, 13]
    work.processes = Two()
    assert [work.planned_steps(batches) for batches in (0, 2, 4, 6)] == [0, 6, 10, 14]
    work.batches, work.seconds = 2, {"synthesis": 6.0, "distillation": 0.0}
    assert work._next_takes() == pytest.approx(4.0)  # two steps in each process, where three took six seconds
