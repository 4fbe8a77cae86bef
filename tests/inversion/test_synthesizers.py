"""The rivals: each optimises what it should, keeps what it measured, and resumes where it was."""

from pathlib import Path

import pytest
import torch

from frami_edge import networks, recipe
from frami_edge.card import Clip, MelSpec, Normalisation, TeacherCard
from frami_edge.compute import choose
from frami_edge.inversion import batch_norm, losses, views
from frami_edge.inversion.bank import Bank
from frami_edge.inversion.inverter import Inverter
from frami_edge.inversion.noise import noise_fields
from frami_edge.inversion.sources import LogMelSource, MetaGeneratorSource
from frami_edge.inversion.synthesizer import Synthesizer, make_synthesizer
from frami_edge.recipe import Views
from frami_edge.teacher.taps import Teacher

METHODS = ["frami", "cmi", "fastdfkd", "adi", "noise"]
NORMALISATION = Normalisation(kind="global", mean=-4, std=3)
BY_BAND = Normalisation(kind="per-band", band_mean=[-6 + 0.1 * band for band in range(40)], band_std=[3.0] * 40)
DECIBELS = {"log": "db", "log_offset": 1e-10, "log_offset_by": "clamping"}
OTHER_FRONT_ENDS = {
    "mfcc": MelSpec(kind="mfcc", n_mfcc=13, top_db=80.0, normalisation={"kind": "cmvn"}, **DECIBELS),
    "clip": MelSpec(normalisation={"kind": "clip"}),
    "per-band": MelSpec(normalisation=BY_BAND),
    "below the peak": MelSpec(db_reference="max", top_db=60.0, **DECIBELS),
}


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    torch.manual_seed(0)
    net = networks.build("wrn16", 4)
    with torch.no_grad():
        for _ in range(5):
            net.train()(torch.randn(8, 40, 50) - 9)
    card = TeacherCard(labels=("a", "b", "c", "d"), time_dependent=False, clip=Clip(seconds=0.5, preparation="crop"))
    return Teacher(net, card)


def make(teacher: Teacher, method: str, *more: str) -> Synthesizer:
    torch.manual_seed(1)
    name = "quick" if method == "frami" else method
    settings = recipe.load(name, ["inversion.batch_size=8", "inversion.ngf=4", "inversion.steps=3",
                                  "inversion.first_steps=3", *more])
    assert settings.inversion.method == method
    return make_synthesizer(teacher, settings.inversion, choose("cpu", "float32"))


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_lies_in_the_range_of_the_front_end(teacher: Teacher, method: str, tmp_path: Path) -> None:
    told: list[int] = []
    maker = make(teacher, method)
    made = maker.synthesize(networks.build("wrn16", 4).eval().requires_grad_(False), Bank(tmp_path, "sha", 100),
                            lambda step, _: told.append(step))
    log_mel, spec = made.samples.log_mel, teacher.card.frontend
    assert log_mel.shape == (8, 40, 51) and log_mel.isfinite().all() and not log_mel.requires_grad
    assert log_mel.min() >= spec.log_floor - 1e-4 and log_mel.max() <= spec.log_ceiling + 1e-4
    assert log_mel.flatten(1).std(1).min() > 0.01
    assert told == list(range(1, 2 if method == "noise" else 1 + maker.settings.steps_of(0)))
    assert made.samples.embeddings.shape[0] == 8 and made.losses["bn"] > 0


@pytest.mark.parametrize("method", ["frami", "cmi", "fastdfkd", "adi"])
def test_inversion_lowers_the_loss_it_minimises(teacher: Teacher, method: str, tmp_path: Path) -> None:
    bank = Bank(tmp_path, "sha", 100)
    start, end = (make(teacher, method, f"inversion.steps={steps}", f"inversion.first_steps={steps}")
                  .synthesize(None, bank).losses["inversion"] for steps in (1, 40))
    assert end < 0.7 * start


@pytest.mark.parametrize("method", METHODS)
def test_state_carries_everything_over(teacher: Teacher, method: str, tmp_path: Path) -> None:
    """A second batch is the same, bit for bit, whether the process lived on or not."""
    bank = Bank(tmp_path, "sha", 100)
    first = make(teacher, method)
    first.synthesize(None, bank)
    state, random = first.state_dict(), torch.get_rng_state()
    state = torch.load(_saved(state, tmp_path / "state.pt"), weights_only=True)
    expected = first.synthesize(None, bank).samples.log_mel
    second = make(teacher, method)
    second.load_state_dict(state)
    torch.set_rng_state(random)
    assert torch.equal(second.synthesize(None, bank).samples.log_mel, expected)


def _saved(state: dict[str, object], path: Path) -> Path:
    torch.save(state, path)
    return path


def test_what_is_minimised_is_the_weighted_sum_of_its_terms(teacher: Teacher, tmp_path: Path) -> None:
    """Eqs. 1, 3 and 4; T_finv is to rise, so it counts negatively."""
    card = teacher.card.model_copy(update={"clip": Clip(seconds=1.0, preparation="crop")})
    maker = make(Teacher(teacher.net, card), "frami", "inversion.chunk_class_weight=0.3", "inversion.finv_weight=0.7",
                 "inversion.tv_weight=0.1")
    told: list[dict[str, float]] = []
    student = networks.build("wrn16", 4).eval().requires_grad_(False)
    maker.synthesize(student, Bank(tmp_path, "sha", 100), lambda _, losses_now: told.append(losses_now))
    s = maker.settings
    for now in told:
        inversion = (s.bn_weight * now["bn"] + s.class_weight * now["class"] + 0.1 * now["tv"]
                     + s.adversarial_weight * now["adversarial"])
        assert now["inversion"] == pytest.approx(inversion, rel=1e-4)
        assert now["total"] == pytest.approx(inversion + s.contrast_weight * now["contrast"]
                                             + 0.3 * now["chunk_class"] - 0.7 / s.tau * now["finv"], rel=1e-4)


def test_asking_for_likeness_along_time_brings_it(teacher: Teacher, tmp_path: Path) -> None:
    card = teacher.card.model_copy(update={"clip": Clip(seconds=1.0, preparation="crop")})
    found = {}
    for weight in (1e-6, 20):
        maker = make(Teacher(teacher.net, card), "frami", "inversion.steps=40", "inversion.first_steps=40",
                     "inversion.contrast_weight=0", f"inversion.finv_weight={weight}")
        told: list[float] = []
        maker.synthesize(None, Bank(tmp_path / str(weight), "sha", 100),
                         lambda _, losses_now, told=told: told.append(losses_now["finv"]))
        found[weight] = sum(told[-5:]) / 5
    assert 1 - found[20] < 0.3 * (1 - found[1e-6])


def test_the_methods_losses_are_those_of_their_papers(teacher: Teacher, tmp_path: Path) -> None:
    student, bank = networks.build("wrn16", 4).eval().requires_grad_(False), Bank(tmp_path, "sha", 100)
    long = teacher.card.model_copy(update={"clip": Clip(seconds=1.0, preparation="crop")})
    second = Teacher(teacher.net, long)
    terms = {method: set(make(second, method).synthesize(student, bank).losses) for method in METHODS}
    both = {"bn", "class", "adversarial", "inversion", "total"}
    assert terms == {"frami": both | {"contrast", "finv", "chunk_class"}, "cmi": both | {"contrast"}, "fastdfkd": both,
                     "adi": both | {"tv"}, "noise": {"bn"}}


def test_the_meta_generator_moves_once_a_batch_and_along_the_sum_of_gradients(teacher: Teacher, tmp_path: Path) -> None:
    maker = make(teacher, "fastdfkd")
    assert isinstance(maker, Inverter) and isinstance(maker.source, MetaGeneratorSource)
    source = maker.source
    before = [weight.detach().clone() for weight in source.generator.parameters()]
    maker.synthesize(None, Bank(tmp_path, "sha", 100))
    rate = source.settings.lr_generator * source.settings.steps  # Adam's first step has the size of its rate
    for old, new, gradient in zip(before, source.generator.parameters(), source.gradients, strict=True):
        moved = gradient.abs() > 1e-4
        expected = -rate * gradient.sign()[moved]
        torch.testing.assert_close((new - old)[moved], expected, rtol=1e-2, atol=1e-5)
    clone = next(iter(source.clone.parameters()))
    assert not torch.equal(clone, before[0])  # the clone took the steps


def test_log_mels_come_back_from_the_limits(teacher: Teacher, tmp_path: Path) -> None:
    maker = make(teacher, "adi", "inversion.lr_z=100.0")
    assert isinstance(maker, Inverter) and isinstance(maker.source, LogMelSource)
    maker.synthesize(None, Bank(tmp_path, "sha", 100))
    source = maker.source
    log_mel = source.centre + source.spread * source.scaled
    assert log_mel.min() >= source.low - 1e-4 and log_mel.max() <= source.high + 1e-4


@pytest.mark.parametrize("mean,std", [(-9.6, 2.9), (-8.0, 3.0), (-3.85, 5.81)])
def test_log_mels_at_the_limits_have_a_gradient_whatever_the_roundings(mean: float, std: float) -> None:
    """A limit in units of the card's deviation is off by a rounding when it comes back."""
    card = TeacherCard(labels=("a", "b"), time_dependent=True,
                       frontend=MelSpec(normalisation=Normalisation(kind="global", mean=mean, std=std)))
    source = LogMelSource(card, recipe.load("adi").inversion, choose("cpu", "float32"))
    source.begin()
    for far in (-1e6, 1e6):
        with torch.no_grad():
            source.scaled.fill_(far)
        source._limit()
        source.zero_grad()
        drawn = source.draw()
        assert drawn.min() >= source.low and drawn.max() <= source.high
        drawn.sum().backward()
        torch.testing.assert_close(source.scaled.grad, torch.full_like(source.scaled, std))


def test_noise_knows_nothing_of_the_labels_asked_for(teacher: Teacher, tmp_path: Path) -> None:
    made = make(teacher, "noise").synthesize(None, Bank(tmp_path, "sha", 100))
    maker = make(teacher, "noise")
    with torch.no_grad():
        named = teacher(maker.normalise(made.samples.log_mel)).argmax(1)
    assert torch.equal(made.samples.labels, named)


def test_noise_fields_have_their_spectra() -> None:
    torch.manual_seed(0)
    fields = noise_fields(60, 40, 200)
    assert fields.mean((1, 2)).abs().max() < 1e-4
    torch.testing.assert_close(fields.var((1, 2), correction=0), torch.ones(60), rtol=1e-3, atol=1e-3)

    def neighbours(x: torch.Tensor, axis: int) -> float:
        """Mean correlation with the next frame (2) or band (1)."""
        return float((x.narrow(axis, 1, x.shape[axis] - 1) * x.narrow(axis, 0, x.shape[axis] - 1)).mean())

    white, pink, bands = fields[0::3], fields[1::3], fields[2::3]
    assert abs(neighbours(white, 2)) < 0.02 and abs(neighbours(white, 1)) < 0.02
    assert neighbours(pink, 2) > 0.5 and neighbours(pink, 1) > 0.5
    assert neighbours(bands, 2) > 0.5 and abs(neighbours(bands, 1)) < 0.05


def test_jensen_shannon_is_bounded_and_zero_where_both_agree() -> None:
    one, other = torch.tensor([[50.0, 0.0, 0.0]]), torch.tensor([[0.0, 50.0, 0.0]])
    assert float(losses.js_adversarial_loss(one, one, 3.0)) == pytest.approx(0.0, abs=1e-7)
    assert float(losses.js_adversarial_loss(one, other, 1.0)) == pytest.approx(-0.6931472, abs=1e-5)
    torch.manual_seed(0)
    p, q = torch.randn(5, 4).softmax(1), torch.randn(5, 4).softmax(1)
    middle = (p + q) / 2
    expected = -0.5 * ((p * (p / middle).log()).sum(1) + (q * (q / middle).log()).sum(1)).mean()
    torch.testing.assert_close(losses.js_adversarial_loss(p.log(), q.log(), 1.0), expected)


def test_total_variation_of_a_ramp() -> None:
    x = torch.arange(5.0).expand(1, 3, 5)  # rises by one a frame, equal in all bands
    # along time 3 x 4 differences of one, along bands none, along each diagonal 2 x 4 of one
    assert float(losses.total_variation(x)) == pytest.approx(12**0.5 + 2 * 8**0.5)


def test_asking_the_chunks_for_the_class_makes_samples_richer(teacher: Teacher, tmp_path: Path) -> None:
    """With the cross-entropy of the chunks, the chunks are recognised better than without, all else equal."""
    card = teacher.card.model_copy(update={"clip": Clip(seconds=1.0, preparation="crop")})
    sharper = Teacher(teacher.net, card)
    found = {}
    for weight in (0, 5):
        maker = make(sharper, "frami", "inversion.steps=40", "inversion.first_steps=40", "inversion.finv_weight=0",
                     "inversion.contrast_weight=0", f"inversion.chunk_class_weight={weight}")
        made = maker.synthesize(None, Bank(tmp_path / str(weight), "sha", 100)).samples
        with torch.no_grad():
            logits = sharper(views.chunks(maker.normalise(made.log_mel), 2))
        found[weight] = float(losses.class_loss(logits, made.labels.repeat(2)))
    assert found[5] < 0.9 * found[0]


def test_the_inputs_mean_and_variance_come_to_what_the_normalisation_says(teacher: Teacher, tmp_path: Path) -> None:
    frontend = teacher.card.frontend.model_copy(update={"normalisation": NORMALISATION})
    known = Teacher(teacher.net, teacher.card.model_copy(update={"frontend": frontend}))
    gaps = {}
    for weight in (0, 1):
        maker = make(known, "frami", "inversion.steps=60", "inversion.first_steps=60", "inversion.bn_momentum=0",
                     f"inversion.input_weight={30 * weight}")
        made = maker.synthesize(None, Bank(tmp_path / str(weight), "sha", 100))
        found = batch_norm.input_statistics(maker.normalise(made.samples.log_mel))
        gaps[weight] = float(batch_norm.layer_gap(found, batch_norm.Statistics(torch.zeros(1), torch.ones(1))))
        assert ("input" in made.losses) == bool(weight)
    assert gaps[1] < 0.5 * gaps[0]


def test_statistics_by_band_are_known_by_band(teacher: Teacher, tmp_path: Path) -> None:
    frontend = teacher.card.frontend.model_copy(update={"normalisation": BY_BAND})
    maker = make(Teacher(teacher.net, teacher.card.model_copy(update={"frontend": frontend})), "frami",
                 "inversion.bn_momentum=0", "inversion.first_steps=1")
    made = maker.synthesize(None, Bank(tmp_path, "sha", 100))
    x = maker.normalise(made.samples.log_mel).transpose(0, 1).flatten(1)  # (bands, all frames)
    expected = x.mean(1).norm() / 40 ** 0.5 + (x.var(1, correction=0) - 1).norm() / 40 ** 0.5
    assert made.losses["input"] == pytest.approx(float(expected), rel=1e-4)


def test_numbers_that_nobody_measured_are_no_target(teacher: Teacher, tmp_path: Path) -> None:
    chosen = NORMALISATION.model_copy(update={"measured": False})
    frontend = teacher.card.frontend.model_copy(update={"normalisation": chosen})
    maker = make(Teacher(teacher.net, teacher.card.model_copy(update={"frontend": frontend})), "frami")
    assert "input" not in maker.synthesize(None, Bank(tmp_path, "sha", 100)).losses


@pytest.mark.parametrize("name", OTHER_FRONT_ENDS)
@pytest.mark.parametrize("method", ["frami", "adi", "noise"])
def test_samples_are_log_mels_whatever_the_teacher_hears_of_them(name: str, method: str, tmp_path: Path) -> None:
    spec = OTHER_FRONT_ENDS[name]
    torch.manual_seed(0)
    card = TeacherCard(labels=("a", "b", "c", "d"), time_dependent=True, frontend=spec,
                       clip=Clip(seconds=0.5, preparation="center-pad"))
    maker = make(Teacher(networks.build("wrn16", 4, spec.rows), card), method, "inversion.prepare=true")
    made = maker.synthesize(networks.build("wrn16", 4, spec.rows).eval().requires_grad_(False),
                            Bank(tmp_path, "sha", 100))
    log_mel = made.samples.log_mel
    assert log_mel.shape == (8, 40, 51)
    assert log_mel.min() >= spec.log_floor - 1e-3 and log_mel.max() <= spec.log_ceiling + 1e-3
    assert made.samples.embeddings.isfinite().all()
    heard, silence = maker.normalise(log_mel), maker.silence(log_mel)
    assert heard.shape == (8, spec.rows, 51)
    # clips are padded with silence, and what is silent in the sample is silence to the teacher
    silent = (log_mel == spec.log_floor).all(1, keepdim=True)
    assert silent.any()
    off = (heard - silence).abs().masked_fill(~silent, 0.0)
    assert off.max() < 1e-3 * spec.log_scale
    view = views.training_view(heard, True, silence, Views(shortest=1, shift=0.2, mask_bands=0.2, mask_frames=0.2,
                                                           noise=0))
    assert view.shape == heard.shape and view.isfinite().all()
