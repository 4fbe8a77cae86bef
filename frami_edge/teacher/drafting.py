"""A card to be completed, with what inspection found, what it guesses, and what only the vendor knows."""

import json
from pathlib import Path

from frami_edge.card import FILL_IN
from frami_edge.teacher.inspecting import PROGRAM, Inspection

TEMPLATE = """\
# Teacher card for {file}, sha256 {sha256}
# Drafted by `frami-edge inspect`. "FOUND" was measured, "GUESS" is what is usual: check it. Each "FILL IN" is known to
# the vendor alone (training code, model card); until all are replaced the card is refused. See docs/teachers.md.
format = 1
{lines}

[clip]                           # how clips were brought to length and level for training
sample_rate = "FILL IN"          # Hz, of the training clips: 16000, 8000, 44100, ...
seconds = "FILL IN"              # length of the training clips; {frames}
preparation = "FILL IN"          # "center-pad" | "end-pad" | "loop" | "crop": how clips were brought to that length
level = "none"                   # GUESS: "none", or "peak" (each clip divided by its maximum)

"""
FRONTEND = """\
[frontend]                       # the Mel dialect, as the training code computed it; MFCCs, pre-emphasis, Kaldi's and
                                 # other vendors' settings as a whole: docs/teachers.md
n_fft = "FILL IN"                # samples: 400, 512, 1024, ...
win_length = "FILL IN"           # samples: 25 ms are 400 at 16 kHz; n_fft unless the code says another
hop_length = "FILL IN"           # samples: 10 ms are 160 at 16 kHz
window = "hann"                  # GUESS: "hann" | "hamming" | "povey" (Kaldi) | "blackman"
center = true                    # GUESS: torchaudio's and librosa's default
pad_mode = "reflect"             # GUESS: "reflect" (torchaudio), "constant" (librosa since 0.10)
power = 2.0                      # GUESS: 2.0 is power, 1.0 is magnitude
{n_mels}
f_min = 0.0                      # GUESS, Hz
f_max = "FILL IN"                # Hz: half the sample rate unless the code says another
mel_scale = "FILL IN"            # "htk" (torchaudio's default) | "slaney" (librosa's) | "kaldi" | "speechbrain"
mel_norm = "FILL IN"             # "none" (torchaudio's default) | "slaney" (librosa's)
log = "FILL IN"                  # "ln" | "log2" | "log10" | "db" (of power) | "db-amplitude"
log_offset = "FILL IN"           # what is added before the logarithm, such as 1e-6
log_offset_by = "adding"         # GUESS: "adding", or "clamping" to no less (librosa's and torchaudio's decibels)
top_db = 0.0                     # GUESS: 80.0 with librosa's and torchaudio's decibels; 0 keeps all
db_reference = 1.0               # GUESS: what 0 dB is; "max" is the clip's largest value (librosa's ref=np.max)
{kept}

[frontend.normalisation]         # (x - mean) / std on the log-Mel
kind = "FILL IN"                 # "none" | "global" (numbers below) | "per-band" (band_mean and band_std, lists) |
                                 # "clip" | "cmvn" | "cmn": the clip's own
mean = 0.0                       # of the training set, where kind is "global"
std = 1.0
"""
# of a network that takes waveforms
INSIDE = """\
[frontend]                       # is inside the network: a torchaudio transform is found and read, and what is written
                                 # here comes before it; any other is named by features_at and described here
"""


def draft(found: Inspection) -> str:
    """``teacher.toml`` with comments; each unknown says FILL IN, so that it is refused until it is complete."""
    network = found.network
    layout = network.layouts[0] if network and network.layouts else None
    classes = network.classes if network else next((each.classes for each in found.weights), None)
    fixed = network.lengths if network and network.lengths and network.lengths.fixed else None
    bands = layout.n_mels if layout else ()
    lines = [
        _architecture(found),
        _line("labels", FILL_IN, f"{f'the {classes} names' if classes else 'names'} of the classes, in the order of "
              "the outputs: [\"cat\", \"dog\"]"),
        _line("output", network.output, f"FOUND: {_why(network.output)}") if network and network.output else
        _line("output", "logits", "GUESS: \"logits\" | \"log_softmax\" | \"softmax\""),
        _line("time_dependent", FILL_IN, "true for words, false for sounds that may be rolled in time"),
        _line("layout", layout.name, _others([each.name for each in network.layouts])) if network and layout else
        _line("layout", "B1FT", "GUESS: \"B1FT\" | \"B1TF\" | \"BFT\" | \"BTF\" (batch, channel, frequency, time)"),
    ]
    if len(bands) == 1:
        n_mels = _line("n_mels", bands[0], "FOUND: the only usual number of Mel bands that it takes")
    else:
        some = f"it takes {', '.join(map(str, sorted(bands)))} among others" if bands else "Mel bands, such as 40 or 64"
        n_mels = _line("n_mels", FILL_IN, some)
    kept = (_line("frames", fixed.shortest, "FOUND: it takes this many frames alone") if fixed else
            _line("frames", 0, "GUESS: frames kept of each clip; 0 keeps all"))
    frames = f"it takes {fixed.shortest} frames alone" if fixed else "1.0, 2.0, 10.0, ..."
    text = TEMPLATE.format(file=found.path.name, sha256=found.sha256, lines="\n".join(lines), frames=frames)
    return text + (INSIDE if layout and layout.name == "waveform" else FRONTEND.format(n_mels=n_mels, kept=kept))


def _architecture(found: Inspection) -> str:
    named = found.architecture
    if named and ":" not in named:
        return _line("architecture", named, "FOUND: keys and shapes are those of this registered network")
    if named:
        beside = Path(named).parent == found.path.parent
        return _line("architecture", Path(named).name if beside else named, "as you said: code that builds the network")
    if found.network:
        how = "" if found.kind == PROGRAM else " (--trust)"
        return _line("architecture", "", f"none: the file holds the whole network{how}")
    return _line("architecture", FILL_IN, "\"model.py:build\": the code beside this file that builds the network")


def _line(key: str, value: str | int, comment: str) -> str:
    return f"{f'{key} = {json.dumps(value)}':<32} # {comment}"


def _why(output: str) -> str:
    return {"softmax": "rows sum to one", "log_softmax": "exponentials of the rows sum to one",
            "logits": "rows do not sum to one"}[output]


def _others(names: list[str]) -> str:
    if len(names) == 1:
        return "FOUND: the only one that it takes"
    axes = "; whether frequency (F) or time (T) comes first is known to the vendor's code alone"
    return f"GUESS: it takes {', '.join(names)}{axes if {'B1FT', 'B1TF'} <= set(names) else ''}"
