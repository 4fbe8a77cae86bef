"""Log-Mels in memory, and the random stretches that training draws from them."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from frami_edge import recordings
from frami_edge.card import Clip as ClipTable
from frami_edge.card import MelSpec, TeacherCard
from frami_edge.datasets import Clip
from frami_edge.errors import FramiError
from frami_edge.frontend import MelFrontend
from frami_edge.recordings import Recordings, spec_augment
from frami_edge.runtime.clips import prepare

FLOOR = -99.0


def counted(*lengths: int, n_mels: int = 2) -> Recordings:
    """Clip c has the value 1000 c + t in its frame t."""
    frames = [1000.0 * clip + torch.arange(length) for clip, length in enumerate(lengths)]
    size = torch.tensor(lengths)
    return Recordings(torch.cat(frames)[:, None].repeat(1, n_mels), size.cumsum(0) - size, size,
                      torch.arange(len(lengths)))


def card(preparation: str, **clip: object) -> TeacherCard:
    return TeacherCard(labels=("a", "b"), time_dependent=False, clip=ClipTable(preparation=preparation, **clip))


def write_noise(folder: Path, *lengths: int) -> list[Clip]:
    """White noise of so many samples at 16 kHz each, labels 0 and 1 in turn."""
    generator, clips = np.random.default_rng(0), []
    for index, length in enumerate(lengths):
        path = folder / f"{index}.wav"
        soundfile.write(path, generator.uniform(-0.3, 0.3, length), 16000, subtype="FLOAT")
        clips.append(Clip(path, index % 2, ""))
    return clips


def test_cropped_sounds_are_heard_whole_whatever_is_kept_of_a_crop(tmp_path: Path) -> None:
    """The trap: a vendor drops the last frame of his crops of a second, and of a minute a second would be heard."""
    kept = MelSpec(frames=100)
    crop, pad = (card(each, seconds=1.0).model_copy(update={"frontend": kept}) for each in ("crop", "end-pad"))
    assert crop.frames == pad.frames == 100
    clips = write_noise(tmp_path, 48000)
    assert recordings.load(clips, crop).lengths.tolist() == [301]
    assert recordings.load(clips, pad).lengths.tolist() == [100]
    wave = 0.1 * torch.randn(1, 48000)
    later = torch.cat([wave[:, :20000], torch.zeros(1, 28000)], 1)
    assert not torch.equal(MelFrontend.from_card(crop)(wave)[..., 200:], MelFrontend.from_card(crop)(later)[..., 200:])


@given(lengths=st.lists(st.integers(5, 30), min_size=1, max_size=5), seed=st.integers(0, 1000))
def test_time_independent_stretches_are_rolled_within_their_clip(lengths: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    clips = torch.arange(len(lengths))
    drawn = counted(*lengths).draw(clips, 5, time_dependent=False, floor=FLOOR)
    assert drawn.shape == (len(lengths), 2, 5)
    time = drawn[:, 0] - 1000 * clips[:, None]
    steps = (time[:, 1:] - time[:, :-1]) % torch.tensor(lengths)[:, None]
    assert ((time >= 0) & (time < torch.tensor(lengths)[:, None])).all()
    assert (steps == 1).all()


@given(lengths=st.lists(st.integers(20, 60), min_size=1, max_size=5), seed=st.integers(0, 1000))
def test_time_dependent_stretches_are_shifted_into_silence_and_never_rolled(lengths: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    clips = torch.arange(len(lengths))
    drawn = counted(*lengths).draw(clips, 20, time_dependent=True, floor=FLOOR)
    time = drawn[:, 0] - 1000 * clips[:, None]
    silent = drawn[:, 0] == FLOOR
    assert (silent.sum(1) <= 2).all()  # a tenth of 20 frames
    for row, quiet, length in zip(time, silent, lengths, strict=True):
        heard = row[~quiet]
        assert (heard.diff() == 1).all()
        assert heard[0] >= 0
        assert heard[-1] < length
        assert not quiet[2:-2].any()


def test_every_start_is_drawn() -> None:
    torch.manual_seed(0)
    clips = torch.zeros(4000, dtype=torch.long)
    rolled = counted(10).draw(clips, 5, time_dependent=False, floor=FLOOR)[:, 0, 0]
    assert rolled.unique().tolist() == list(range(10))
    assert torch.bincount(rolled.long()).min() > 300  # 400 expected
    shifted = counted(23).draw(clips, 20, time_dependent=True, floor=FLOOR)[:, 0, 10]
    assert shifted.unique().tolist() == list(range(8, 16))  # starts from -2 to 5


def test_masks_silence_at_most_a_share() -> None:
    torch.manual_seed(0)
    log_mel = torch.ones(500, 40, 100)
    masked = spec_augment(log_mel, FLOOR)
    bands, frames = (masked == FLOOR).all(2), (masked == FLOOR).all(1)
    assert (bands.sum(1).max(), frames.sum(1).max()) == (6, 15)
    assert (bands.sum(1).min(), frames.sum(1).min()) == (0, 0)
    inside = bands[:, :, None] | frames[:, None, :]
    assert (masked[~inside] == 1).all()
    assert (log_mel == 1).all()  # what is drawn from is not changed


def test_loaded_clips_are_what_the_front_end_gives_one_by_one(tmp_path: Path) -> None:
    clips, wanted = write_noise(tmp_path, 16000, 24000, 300, 24000, 8000), card("crop", seconds=0.5)
    loaded = recordings.load(clips, wanted)
    frontend = MelFrontend.from_card(wanted)
    assert loaded.lengths.tolist() == [101, 151, 51, 151, 51]
    assert loaded.labels.tolist() == [0, 1, 0, 1, 0]
    for index, clip in enumerate(clips):
        wave = prepare(soundfile.read(clip.path, dtype="float32")[0], wanted.clip.model_dump())
        first = int(loaded.starts[index])
        found = loaded.frames[first : first + int(loaded.lengths[index])]
        torch.testing.assert_close(found.T, frontend.log_mel(torch.from_numpy(wave)[None])[0], atol=1e-4, rtol=0)


def test_prepared_clips_have_the_length_of_the_card(tmp_path: Path) -> None:
    wanted = card("center-pad", seconds=1.0, level="peak")
    loaded = recordings.load(write_noise(tmp_path, 16000, 3000, 40000), wanted)
    assert loaded.lengths.tolist() == [wanted.frames] * 3
    silent = (loaded.frames[101:202] - wanted.frontend.log_floor).abs().amax(1) < 1e-4  # of the clip of 3000 samples
    assert silent[:39].all()
    assert silent[-39:].all()
    assert not silent[42:58].any()


def test_normalisation_makes_mean_zero_and_deviation_one(tmp_path: Path) -> None:
    wanted = card("center-pad", seconds=1.0)
    loaded = recordings.load(write_noise(tmp_path, 16000, 3000, 9000), wanted)
    measured = loaded.normalisation()
    normalised = (loaded.frames - measured.mean) / measured.std
    assert measured.kind == "global"
    assert normalised.mean().abs() < 1e-3
    assert normalised.std() == pytest.approx(1, abs=1e-3)


def test_progress_and_bad_clips(tmp_path: Path) -> None:
    clips, done = write_noise(tmp_path, 8000, 8000), list[int]()
    recordings.load(clips, card("crop", seconds=0.5), done.append)
    assert done == [2]
    clips[1].path.write_bytes(b"")
    with pytest.raises(FramiError, match=r"1\.wav is an empty file"):
        recordings.load(clips, card("crop"))
    with pytest.raises(FramiError, match="no recordings to train on"):
        recordings.load([], card("crop"))
