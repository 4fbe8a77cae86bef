"""Samples from a teacher: inversion lowers its losses, keeps what it measured, and asks for each class alike."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_runs import make_teacher, quick

from frami_edge import networks
from frami_edge.compute import choose
from frami_edge.errors import FramiError
from frami_edge.inversion.bank import Bank
from frami_edge.inversion.inverter import Inverter
from frami_edge.inversion.synthesizer import Labels, Synthesizer, make_synthesizer
from frami_edge.teacher.taps import Teacher


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


def test_refined_samples_are_nearer_to_what_the_teacher_knows(tmp_path: Path) -> None:
    """In the place of those that the generator made, with their labels and clip preparation, measured as kept."""
    told: list[int] = []
    before = synthesizer("inversion.first_steps=12").synthesize(None, Bank(tmp_path / "before", "sha", 100))
    maker = synthesizer("inversion.first_steps=12", "inversion.refine_steps=8")
    after = maker.synthesize(None, Bank(tmp_path / "after", "sha", 100), lambda step, _: told.append(step))
    assert told == list(range(1, maker.settings.steps_of(0) + 1)) and len(told) == 20
    (was, labels, _), (log_mel, same, embeddings) = before.samples, after.samples
    assert torch.equal(labels, same) and log_mel.shape == was.shape and not torch.equal(log_mel, was)
    assert all(after.losses[name] < 0.95 * before.losses[name] for name in ("bn", "inversion"))
    floor = maker.card.frontend.log_floor
    assert torch.equal((was == floor).all(1), (log_mel == floor).all(1))
    assert maker.settings.prepare and (was == floor).all(1).any()
    with torch.no_grad():
        x = maker.normalise(log_mel)
        cross_entropy = torch.nn.functional.cross_entropy(maker.teacher(x), labels)
        assert torch.allclose(maker.embed(x), embeddings, atol=1e-3)
    assert float(cross_entropy) == pytest.approx(after.losses["class"], rel=1e-3)


def test_refining_keeps_the_samples_that_it_would_make_worse(tmp_path: Path) -> None:
    was, kept = (synthesizer("inversion.first_steps=12", *more).synthesize(None, Bank(tmp_path / name, "sha", 100))
                 for name, more in (("was", ()), ("kept", ("inversion.refine_steps=4", "inversion.lr_refine=50"))))
    assert torch.equal(was.samples.log_mel, kept.samples.log_mel)


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
