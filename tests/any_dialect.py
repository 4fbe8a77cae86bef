"""Any valid dialect, for property tests."""

from hypothesis import strategies as st

from frami_edge.card import MelSpec, Normalisation


@st.composite
def specs(draw: st.DrawFn) -> MelSpec:
    """Any valid dialect at 16 kHz."""
    win_length, n_mels = draw(st.integers(1, 512)), draw(st.integers(1, 48))
    log = draw(st.sampled_from(["ln", "log2", "log10", "db", "db-amplitude"]))
    decibels, kind, center = log.startswith("db"), draw(st.sampled_from(["log-mel", "mfcc"])), draw(st.booleans())
    n_mfcc = draw(st.integers(1, n_mels)) if kind == "mfcc" else 0
    mel_scale = draw(st.sampled_from(["htk", "slaney", "kaldi", "speechbrain"]))
    mel_norm = draw(st.sampled_from(["none", "slaney"])) if mel_scale in ("htk", "slaney") else "none"
    normalised = draw(st.sampled_from(["none", "global", "per-band", "clip", "cmvn", "cmn"]))
    given_values = [draw(st.floats(0.1, 9))] * (n_mfcc or n_mels) if normalised == "per-band" else []
    preemphasis = draw(st.sampled_from([0.0, 0.97]))
    return MelSpec(
        kind=kind, n_mfcc=n_mfcc, n_mels=n_mels, win_length=win_length, n_fft=win_length + draw(st.integers(0, 300)),
        hop_length=draw(st.integers(40, 400)), window=draw(st.sampled_from(["hann", "hamming", "povey", "blackman"])),
        window_periodic=draw(st.booleans()), center=center, pad_mode=draw(st.sampled_from(["reflect", "constant"])),
        frame_length="n_fft" if center else draw(st.sampled_from(["n_fft", "win_length"])),
        input_scale=draw(st.sampled_from([1.0, 32768.0])), preemphasis=preemphasis,
        preemphasis_of=draw(st.sampled_from(["wave", "frame"])) if preemphasis else "wave",
        remove_dc=draw(st.booleans()), power=draw(st.sampled_from([1.0, 1.5, 2.0])),
        f_min=draw(st.floats(0, 100)), f_max=draw(st.floats(101, 8000)),
        mel_scale=mel_scale, mel_norm=mel_norm, log=log, log_gain=draw(st.sampled_from([1.0, 1e4])),
        log_offset=draw(st.sampled_from([1e-37, 1e-10, 1e-3, 1.0])),
        log_offset_by=draw(st.sampled_from(["adding", "clamping"])),
        db_reference=draw(st.sampled_from([1.0, 1e-3, "max"])) if decibels else 1.0,
        top_db=draw(st.sampled_from([0.0, 80.0])) if decibels else 0.0, frames=draw(st.sampled_from([0, 1, 20])),
        normalisation=Normalisation(
            kind=normalised, band_mean=given_values, band_std=given_values,
            correction=draw(st.sampled_from([0, 1])), epsilon=draw(st.sampled_from([1e-12, 1e-5]))))
