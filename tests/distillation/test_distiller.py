"""One phase of a student's distillation: that it learns, what is replayed, and what is told of a failure."""

from pathlib import Path

import pytest
import torch
from small_runs import make_teacher, quick

from frami_edge import networks
from frami_edge.compute import choose
from frami_edge.distillation.distiller import Distiller, Lesson, Replay
from frami_edge.errors import FramiError


@pytest.mark.parametrize("muon_lr", [0.0, 0.02])
def test_a_student_learns_its_teacher(muon_lr: float) -> None:
    """On a fixed set of inputs the divergence falls to a fraction, with both reuse losses on."""
    teacher, settings = make_teacher(), quick().distillation
    assert isinstance(teacher.net, networks.Network)
    teacher.net.classifier.weight.mul_(30)  # so that its answers differ
    phase = settings.alternate.model_copy(update={"temperature": 4.0, "muon_lr": muon_lr})
    distiller = Distiller(teacher, networks.build("wrn16", 4), settings, phase, 40, choose("cpu", "float32"))
    lesson = distiller.ask(torch.randn(16, 40, 50) - 9 + torch.randn(16, 40, 1))
    history = [distiller.learn(lesson) for _ in range(40)]
    assert history[-1]["kd"] < 0.2 * history[0]["kd"]
    assert history[-1]["frame_reuse"] < history[0]["frame_reuse"]
    assert history[-1]["utterance_reuse"] < history[0]["utterance_reuse"]
    assert len(distiller.optimizers) == (2 if muon_lr else 1)


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
