"""The teacher card: round trips, and errors that name the key."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frami_edge.card import Clip, MelSpec, Normalisation, TeacherCard
from frami_edge.errors import FramiError

CARD = TeacherCard(labels=("dog, barking", 'a "quoted" \\ one', "日本"), time_dependent=True)


def test_toml_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "teacher.toml"
    path.write_text(CARD.to_toml(), encoding="utf-8")
    assert TeacherCard.read(path) == CARD
    named = CARD.model_copy(update={"frames_at": "stages.2"})
    path.write_text(named.to_toml(), encoding="utf-8")
    assert TeacherCard.read(path) == named


def test_a_key_that_came_later_leaves_older_cards_what_they_were() -> None:
    """Runs and cells are known by it; the number is that of version 0.1.0 before the card had frames_at."""
    card = TeacherCard(labels=("a", "b"), time_dependent=True)
    assert card.sha256 == "19f22aeefdef32258440e29abf2ff7a72802e08be0488e1259837cf794cb3231"
    assert card.model_copy(update={"frames_at": "conv"}).sha256 != card.sha256


@given(st.text(min_size=1, max_size=20).filter(lambda label: label.strip() not in ("", "b")), st.floats(-100, 100),
       st.floats(0.001, 100))
def test_any_label_and_number_survives(label: str, mean: float, std: float) -> None:
    import tomllib

    spec = MelSpec(normalisation=Normalisation(kind="global", mean=mean, std=std))
    card = TeacherCard(labels=(label, "b"), time_dependent=False, frontend=spec)
    assert TeacherCard.parse(tomllib.loads(card.to_toml()), "test") == card


@pytest.mark.parametrize("text,message", [
    ("time_dependent = true", "labels"),
    ('labels = ["a", "b"]', "card: time_dependent is missing$"),
    ('labels = "a,b"\ntime_dependent = true', r"""labels: a list is wanted, such as \["cat", "dog"\], not 'a,b'$"""),
    ('labels = ["a", "b"]\ntime_dependent = true\nlabelss = 1', "Did you mean 'labels'"),
    ('labels = ["a", "b"]\ntime_dependent = true\n[frontend]\nn_mel = 40', "Did you mean 'n_mels'"),
    ('labels = ["a", "b"]\ntime_dependent = true\n[frontend]\nn_mels = 40.5', "frontend.n_mels"),
    ('labels = ["a", "b"]\ntime_dependent = true\n[frontend]\nwin_length = 600', "larger than n_fft"),
    ('labels = ["a", "b"]\ntime_dependent = true\n[clip]\nsample_rate = 8000',
     r"card: f_max 8000.0 Hz is above half the sample rate \(8000 Hz\); .* f_max = 4000.0 in \[frontend\]$"),
    ('labels = ["a", "b"]\ntime_dependent = true\n[clip]\nsample_rate = 8000\n[frontend]\nf_max = 5000',
     r"f_max 5000.0 Hz is above half the sample rate \(8000 Hz\)$"),
    ('labels = ["a", "b"]\ntime_dependent = "yes"', "time_dependent: true or false is wanted, not 'yes'$"),
    ('labels = ["a", "b", "a"]\ntime_dependent = true', "'a' 2 times"),
    ('labels = ["a", " "]\ntime_dependent = true', "an empty name"),
    ("labels = [", "Cannot read"),
])
def test_errors_name_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "teacher.toml"
    path.write_text(text)
    with pytest.raises(FramiError, match=message) as error:
        TeacherCard.read(path)
    assert "teacher.toml" in error.value.problem


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_editors_on_windows_write_byte_order_marks(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "teacher.toml").write_text(CARD.to_toml(), encoding=encoding)
    assert TeacherCard.read(tmp_path / "teacher.toml") == CARD


def test_missing_card(tmp_path: Path) -> None:
    with pytest.raises(FramiError, match="no teacher card"):
        TeacherCard.read(tmp_path / "teacher.toml")


def test_vendors_cards_are_read(vendor_teachers: Path) -> None:
    digits = TeacherCard.read(vendor_teachers / "digits" / "teacher.toml")
    assert digits.frames == 100 and digits.classes == 10 and digits.frontend.normalisation.std == 6.454
    assert TeacherCard.read(vendor_teachers / "esc10" / "teacher.toml").frames == 201


@pytest.mark.parametrize("spec,seconds,frames", [
    (MelSpec(), 1.0, 101), (MelSpec(frames=100), 1.0, 100), (MelSpec(n_fft=512, center=False), 1.0, 97),
    (MelSpec(n_fft=401), 1.0, 100), (MelSpec(n_fft=401, center=False), 1.0, 98),
])
def test_frames_are_those_of_the_front_end(spec: MelSpec, seconds: float, frames: int) -> None:
    import torch

    from frami_edge.frontend import MelFrontend

    clip = Clip(seconds=seconds, preparation="end-pad")
    card = TeacherCard(labels=("a", "b"), time_dependent=True, clip=clip, frontend=spec)
    assert card.frames == frames
    assert MelFrontend.from_card(card)(torch.zeros(1, card.clip.samples)).shape == (1, 40, frames)


def test_floor_in_every_logarithm() -> None:
    for log, base in (("ln", math.e), ("log2", 2), ("log10", 10)):
        assert MelSpec(log=log).log_floor == pytest.approx(math.log(1e-6, base))
    assert MelSpec(log="db").log_floor == pytest.approx(-60)
