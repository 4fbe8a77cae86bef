"""Training: it learns what the labels or the teacher say, repeats itself for a seed, and survives Ctrl-C."""

from dataclasses import replace

import pytest
import torch
from bands import CARD, accuracy, bands

from frami_edge import networks
from frami_edge.card import TeacherCard
from frami_edge.compute import choose
from frami_edge.datasets import Dataset
from frami_edge.errors import FramiError
from frami_edge.recordings import Recordings
from frami_edge.teacher.taps import Teacher
from frami_edge.training import LEAST_EPOCHS, LEAST_STEPS, Progress, Settings, Training, default_card

SHORT = Settings(epochs=6, batch_size=24, lr=0.05)


def make(settings: Settings = SHORT, recordings: Recordings | None = None, card: TeacherCard = CARD,
         teacher: Teacher | None = None) -> Training:
    torch.manual_seed(settings.seed)
    network = networks.build("wrn16", card.classes, card.frontend.n_mels)
    return Training(network, recordings or bands(), card, settings, choose("cpu", "float32"), teacher)


@pytest.fixture(scope="module")
def trained() -> Training:
    training = make()
    training.run()
    return training


def test_it_learns_the_labels(trained: Training) -> None:
    assert accuracy(trained.network) > 0.95
    assert not trained.network.training
    assert trained.epochs_done == trained.epochs == 6
    assert trained.seconds > 0


def test_clipped_gradients_keep_the_first_steps_of_a_resnet_from_blowing_up() -> None:
    """Without, the cross-entropy of a ResNet-34 on these clips is 48 after three steps, where a guess has 1.1."""
    worst = {}
    for clip_norm in (0.0, 1.0):
        torch.manual_seed(0)
        training = Training(networks.build("res18", 3, 12), bands(), CARD, replace(SHORT, clip_norm=clip_norm),
                            choose("cpu", "float32"))
        worst[clip_norm] = max(training._step(torch.arange(24) + 24 * step)[0] for step in range(4))
    assert worst[0.0] > 5 and worst[1.0] < 2


def test_muon_learns_sooner() -> None:
    """Twelve steps leave SGD at .33 to .72 over three seeds, Muon at .008 to .018."""
    losses: dict[float, list[float]] = {0.0: [], 0.02: []}
    for muon_lr, kept in losses.items():
        def keep(progress: Progress, kept: list[float] = kept) -> None:
            kept.append(progress.loss)

        make(replace(SHORT, epochs=3, muon_lr=muon_lr)).run(keep)
    assert losses[0.02][-1] < 0.2 * losses[0.0][-1]


def test_time_dependent_recordings_are_learned_too() -> None:
    card = CARD.model_copy(update={"time_dependent": True})
    assert accuracy(make(card=card).run()) > 0.95


def test_a_student_learns_its_teacher_and_not_the_labels(trained: Training) -> None:
    """The teacher calls every class by the name of the next one; the labels do not."""
    wrong = networks.build("wrn16", 3, 12)
    wrong.load_state_dict(trained.network.state_dict())
    wrong.classifier.weight.data = wrong.classifier.weight.data.roll(1, 0)
    wrong.classifier.bias.data = wrong.classifier.bias.data.roll(1, 0)
    student = make(replace(SHORT, seed=5), teacher=Teacher(wrong.eval(), CARD)).run()
    assert accuracy(student, permuted=True) > 0.95
    assert accuracy(student) < 0.05


def test_hard_labels_weigh_in_beside_the_teacher(trained: Training) -> None:
    teacher = Teacher(trained.network, CARD)
    log_mel, logits, labels = torch.zeros(4, 12, 21), torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    soft, both = (make(replace(SHORT, hard_weight=weight), teacher=teacher)._loss(log_mel, logits, labels)
                  for weight in (0.0, 0.5))
    cross_entropy = torch.nn.functional.cross_entropy(logits, labels)
    assert float(both - soft) == pytest.approx(0.5 * float(cross_entropy), rel=1e-5)
    share = (logits / 4).softmax(1), (teacher(log_mel) / 4).softmax(1)
    divergence = (share[1] * (share[1].log() - share[0].log())).sum(1).mean()
    assert float(soft) == pytest.approx(16 * float(divergence), rel=1e-4)


def test_the_same_seed_gives_the_same_network() -> None:
    short = replace(SHORT, epochs=1)
    first, again, other = (make(replace(short, seed=seed)).run().state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])


def test_ctrl_c_keeps_the_last_whole_epoch() -> None:
    seen: list[dict[str, torch.Tensor]] = []
    training = make()

    def interrupt(progress: Progress) -> None:
        if progress.step in (4, 8):  # the last of each epoch
            seen.append({name: value.clone() for name, value in training.network.state_dict().items()})
        if progress.step == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.run(interrupt)
    assert training.epochs_done == 2
    assert not training.network.training
    kept = training.network.state_dict()
    assert all(torch.equal(kept[name], seen[1][name]) for name in kept)


def test_progress_counts_steps_and_epochs() -> None:
    told: list[Progress] = []
    training = make(replace(SHORT, epochs=2))
    training.run(told.append)
    assert [progress.step for progress in told] == list(range(1, 9))
    assert [progress.epoch for progress in told] == [1] * 4 + [2] * 4
    assert {(progress.steps, progress.epochs) for progress in told} == {(8, 2)}
    assert told[-1].loss < told[0].loss
    assert training.optimizers[0].param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)  # the cosine has ended


@pytest.mark.parametrize("clips, batch_size, epochs", [
    (96, 24, LEAST_STEPS // 4),  # few steps an epoch: more epochs
    (96, 2, LEAST_EPOCHS),  # 48 steps an epoch
    (5, 64, LEAST_STEPS),  # fewer clips than a batch
])
def test_default_length(clips: int, batch_size: int, epochs: int) -> None:
    training = make(Settings(batch_size=batch_size), bands(clips))
    assert training.epochs == epochs
    assert training.steps >= LEAST_STEPS


@pytest.mark.parametrize("name, value", [("lr", 0.0), ("temperature", -1.0), ("batch_size", 1), ("hard_weight", -0.1),
                                         ("lr", float("nan"))])
def test_settings_out_of_range(name: str, value: float) -> None:
    with pytest.raises(FramiError, match=f"{name} is"):
        Settings(**{name: value})  # type: ignore[arg-type]


def test_a_loss_that_explodes_and_too_few_clips_are_told() -> None:
    broken = bands()
    broken.frames[:25] = float("nan")  # the whole first clip
    with pytest.raises(FramiError, match="loss became nan in epoch 1"):
        make(recordings=broken).run()
    with pytest.raises(FramiError, match="not enough"):
        make(recordings=bands(1))


def test_default_cards() -> None:
    words = Dataset("fsdd", ("0", "1"), (), True, 1.0)
    card = default_card(words)
    assert (card.labels, card.time_dependent, card.clip.preparation, card.clip.level) == (
        ("0", "1"), True, "center-pad", "peak")
    assert (card.clip.sample_rate, card.frontend.n_mels, card.frontend.win_length, card.frontend.hop_length) == (
        16000, 40, 400, 160)
    sounds = default_card(replace(words, time_dependent=False, seconds=2.0))
    assert (sounds.clip.preparation, sounds.clip.level, sounds.clip.seconds) == ("crop", "none", 2.0)
    with pytest.raises(FramiError, match="one class"):
        default_card(replace(words, labels=("0",)))
