"""The Mel dialect: every choice between a waveform and what a network hears, as the card's ``[frontend]`` says it."""

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from frami_edge.tables import Float, PositiveInt, Table

SMALLEST = 1e-37  # that float32 holds with all its digits
Positive = Annotated[float, Field(strict=False, ge=SMALLEST, allow_inf_nan=False)]
Share = Annotated[float, Field(strict=False, ge=0, le=1)]
Floats = Annotated[tuple[Float, ...], Field(strict=False)]
Positives = Annotated[tuple[Positive, ...], Field(strict=False)]

# the windows' mean value: what a sine of amplitude 1 in the middle of a bin is multiplied by, over half its length
WINDOW_MEANS = {"hann": 0.5, "hamming": 0.54, "povey": 0.5317, "blackman": 0.42}
GIVEN = ("none", "global", "per-band")  # normalisations that do not ask the clip


def hertz_to_mel(hertz: float, scale: str) -> float:
    """O'Shaughnessy's formula (``htk``), or that of Slaney's Auditory Toolbox: linear up to 1 kHz, then logarithmic."""
    if scale == "htk":
        return 1127 * math.log1p(hertz / 700)
    return 3 * hertz / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000, 6.4)


def mel_to_hertz(mel: float, scale: str) -> float:
    """The inverse of :func:`hertz_to_mel`."""
    if scale == "htk":
        return 700 * math.expm1(mel / 1127)
    return 200 * mel / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)


def _reference(value: Any) -> Any:
    """What 0 dB is, with one message for everything that it cannot be."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value != "max" and not (number and SMALLEST <= value < math.inf):
        raise ValueError('give a positive number, or "max"')
    return float(value) if number else value


class Normalisation(Table):
    """Applied last, to the log-Mel or the MFCCs: (x - mean) / std.

    ``global`` and ``per-band`` take numbers from here; ``clip`` takes mean and standard deviation of all values of the
    clip, ``cmvn`` those of each band over the clip, ``cmn`` the mean of each band alone.
    """

    kind: Literal["none", "global", "per-band", "clip", "cmvn", "cmn"] = "none"
    mean: Float = 0.0
    std: Annotated[float, Field(strict=False, gt=0, allow_inf_nan=False)] = 1.0
    band_mean: Floats = ()
    band_std: Positives = ()
    measured: bool = True  # mean and std are those of the training clips
    epsilon: Annotated[float, Field(strict=False, ge=1e-12, allow_inf_nan=False)] = 1e-5
    correction: Literal[0, 1] = 0  # 1: the clip's variance over N - 1

    @model_validator(mode="after")
    def _consistent(self) -> "Normalisation":
        given = bool(self.band_mean or self.band_std)
        if given and self.kind != "per-band":
            raise ValueError(f'band_mean and band_std belong to kind = "per-band", and kind is "{self.kind}"')
        if self.kind == "per-band" and (not self.band_mean or len(self.band_mean) != len(self.band_std)):
            raise ValueError('kind = "per-band" needs band_mean and band_std, a number for each band; they have '
                             f"{len(self.band_mean)} and {len(self.band_std)}")
        return self


class MelSpec(Table):
    """The Mel dialect. Lengths in samples, frequencies in hertz."""

    kind: Literal["log-mel", "mfcc"] = "log-mel"
    n_fft: PositiveInt = 400
    win_length: PositiveInt = 400
    hop_length: PositiveInt = 160
    window: Literal["hann", "hamming", "povey", "blackman"] = "hann"
    window_periodic: bool = True
    center: bool = True
    pad_mode: Literal["reflect", "constant"] = "reflect"
    frame_length: Literal["n_fft", "win_length"] = "n_fft"  # samples of a frame where center is false
    input_scale: Annotated[float, Field(strict=False, gt=0, le=1e6)] = 1.0
    preemphasis: Share = 0.0
    preemphasis_of: Literal["wave", "frame"] = "wave"
    remove_dc: bool = False  # subtract each frame's mean
    power: Annotated[float, Field(strict=False, ge=1, le=2)] = 2.0
    n_mels: PositiveInt = 40
    f_min: Annotated[float, Field(strict=False, ge=0)] = 0.0
    f_max: Annotated[float, Field(strict=False, gt=0)] = 8000.0
    mel_scale: Literal["htk", "slaney", "kaldi", "speechbrain"] = "htk"
    mel_norm: Literal["none", "slaney"] = "none"
    log: Literal["ln", "log2", "log10", "db", "db-amplitude"] = "ln"
    log_gain: Annotated[float, Field(strict=False, ge=1e-12, le=1e12)] = 1.0
    log_offset: Positive = 1e-6
    log_offset_by: Literal["adding", "clamping"] = "adding"
    db_reference: Annotated[float | Literal["max"], BeforeValidator(_reference)] = 1.0
    top_db: Annotated[float, Field(strict=False, ge=0, allow_inf_nan=False)] = 0.0  # 0 keeps all
    n_mfcc: Annotated[int, Field(ge=0)] = 0  # coefficients kept, where kind is "mfcc"
    frames: Annotated[int, Field(ge=0)] = 0  # frames kept of each clip, or of each crop in training; 0 keeps all
    normalisation: Normalisation = Normalisation()

    @model_validator(mode="after")
    def _consistent(self) -> "MelSpec":
        for problem in self._problems():
            raise ValueError(problem)
        return self

    def _problems(self) -> list[str]:
        """What contradicts itself, each with what to do."""
        decibels = self.log.startswith("db")
        bands = len(self.normalisation.band_mean)
        checks = [
            (self.win_length > self.n_fft, f"win_length {self.win_length} is larger than n_fft {self.n_fft}"),
            (self.f_min >= self.f_max, f"f_min {self.f_min} is not below f_max {self.f_max}"),
            (self.frame_length == "win_length" and self.center,
             'frame_length = "win_length" is for frames that are not centred: write center = false beside it'),
            (self.preemphasis_of == "frame" and not self.preemphasis,
             'preemphasis_of = "frame" without preemphasis: write its coefficient, such as preemphasis = 0.97'),
            (self.mel_norm != "none" and self.mel_scale in ("kaldi", "speechbrain"),
             f'mel_scale = "{self.mel_scale}" has no mel_norm: leave it out'),
            (self.top_db > 0 and not decibels,
             f'top_db is in decibels, and log is "{self.log}": write log = "db", or leave top_db out'),
            (self.db_reference != 1.0 and not decibels,
             f'db_reference is for decibels, and log is "{self.log}": write log = "db", or leave db_reference out'),
            (self.kind == "mfcc" and not 0 < self.n_mfcc <= self.n_mels,
             f'kind = "mfcc" needs n_mfcc, from 1 to n_mels ({self.n_mels}); it is {self.n_mfcc}'),
            (self.kind != "mfcc" and self.n_mfcc > 0,
             f'n_mfcc belongs to kind = "mfcc", and kind is "{self.kind}": change kind, or leave n_mfcc out'),
            (bands not in (0, self.rows),
             f"band_mean has {bands} numbers, and there are {self.rows} {'MFCCs' if self.n_mfcc else 'bands'}"),
        ]
        return [problem for wrong, problem in checks if wrong]

    @property
    def rows(self) -> int:
        """Of what the network hears: MFCCs, else Mel bands."""
        return self.n_mfcc if self.kind == "mfcc" else self.n_mels

    @property
    def frame_samples(self) -> int:
        """Samples that the first frame needs where frames are not centred."""
        return self.win_length if self.frame_length == "win_length" else self.n_fft

    @property
    def log_scale(self) -> float:
        """What the natural logarithm is multiplied by to give ``log``."""
        return {"ln": 1.0, "log2": 1 / math.log(2), "log10": 1 / math.log(10), "db": 10 / math.log(10),
                "db-amplitude": 20 / math.log(10)}[self.log]

    @property
    def log_shift(self) -> float:
        """What is subtracted from the logarithm: the decibels of a reference that is a number."""
        if self.db_reference == "max":
            return 0.0
        clamped = self.log_offset_by == "clamping"
        return self.log_scale * math.log(max(self.db_reference, self.log_offset) if clamped else self.db_reference)

    @property
    def log_floor(self) -> float:
        """The log-Mel of silence, before everything that depends on the clip, DCT and normalisation."""
        return self.log_scale * math.log(self.log_offset) - self.log_shift

    @property
    def log_ceiling(self) -> float:
        """The log-Mel of a full-scale sine (amplitude 1) in the highest filter, where :attr:`log_floor` is.

        A Hann window sums to win_length / 2, so the spectrum peaks at win_length / 4.
        """
        peak = WINDOW_MEANS[self.window] / 2 * self.win_length * self.input_scale * (1 + self.preemphasis)
        power = self.log_gain * self._highest_filter * peak ** self.power
        return self.log_scale * math.log(power + self.log_offset) - self.log_shift

    @property
    def _highest_filter(self) -> float:
        """The largest weight of a Mel filter. Slaney's norm gives all one area, and the first is the narrowest."""
        if self.mel_norm == "none":
            return 1.0
        low, high = (hertz_to_mel(hertz, self.mel_scale) for hertz in (self.f_min, self.f_max))
        third = low + 2 * (high - low) / (self.n_mels + 1)  # the first filter goes from the first edge to this one
        return 2 / (mel_to_hertz(third, self.mel_scale) - self.f_min)

    @property
    def plain(self) -> bool:
        """Whether nothing but a normalisation with given numbers stands between log-Mel and network."""
        return (self.kind == "log-mel" and not self.top_db and self.db_reference != "max"
                and self.normalisation.kind in GIVEN)

    def changed(self, **values: Any) -> "MelSpec":
        """A copy with other values, checked like any other."""
        return MelSpec.model_validate(self.model_dump() | values)
