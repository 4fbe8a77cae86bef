"""A sentence for each key of a recipe, for `frami-edge recipes NAME`."""

from typing import Any

PHASE = {
    "steps": "Steps of the student.",
    "temperature": "T of the imitation, KL * T^2 (Eq. 10).",
    "lr": "Learning rate of SGD at its highest.",
    "muon_lr": "Learning rate of Muon, for the convolutions, at its highest; 0: SGD for them too.",
    "clip_norm": "Largest norm of the gradient, which is scaled down to it; 0 for none.",
    "frame_reuse": "eta: weight of the teacher's hidden states before the pooling (Eq. 8); 0 leaves it out.",
    "utterance_reuse": "xi: weight of the teacher's hidden states after the pooling (Eq. 9); 0 leaves it out.",
    "warp_bands": "Furthest stretch along the Mel axis, as a share.",
    "warp_frames": "Furthest stretch along time, as a share.",
    "splice": "Share of the batches in which samples are continued by others from some frame on; words only.",
    "mix": "Share of the batches in which samples are mixed in pairs.",
    "consensus": "Views of a sample whose mean answer, the teacher's, is learnt for each of them; 1: its own answer.",
}
SENTENCES: dict[str, Any] = {
    "inversion": {
        "": "How samples are synthesized (Eqs. 1 to 5, Algorithm 1).",
        "method": "What is optimised: frami, cmi, fastdfkd, adi, or noise, which optimises nothing.",
        "batches": "Batches synthesized in all; one for each epoch of Algorithm 1.",
        "minutes": "Synthesize and alternate for so long instead, however many batches that makes (a first one that "
                   "would take longer ends early); 0 counts batches.",
        "warmup_batches": "The first of them come before the student learns anything, and without L_adv.",
        "batch_size": "Samples in a batch.",
        "steps": "Optimisation steps for a batch.",
        "first_steps": "The same for the first batch, and for each batch where restart is true.",
        "refine_steps": "Steps that the samples of a batch then take without the generator, on L_inv alone; not in the "
                        "paper.",
        "lr_refine": "Learning rate of these steps, in standard deviations of a log-Mel.",
        "restart": "Draw the generator anew for each batch, as Algorithm 1 says; false carries it over.",
        "lr_generator": "Learning rate of the generator.",
        "lr_z": "Learning rate of the latent vectors, or of the log-Mels themselves where there is no generator.",
        "lr_head": "Learning rate of the projection in the contrast.",
        "lr_lengths": "Learning rate of the lengths of clips that were padded; 0 keeps them between 0.2 and 0.95.",
        "nz": "Dimensions of a latent vector.",
        "ngf": "Channels of the generator at full resolution.",
        "smooth": "Average neighbouring frames at the end of the generator.",
        "bn_weight": "alpha: weight of the distance to the teacher's BatchNorm statistics (Eq. 4).",
        "bn_momentum": "Share of earlier batches in these statistics; makes small batches usable.",
        "constant_channel_limit": "How far channels that were constant in training may go, in deviations; 0: no limit.",
        "input_weight": "Weight of the input's own mean and variance, where the card knows them; not in the paper.",
        "class_weight": "beta: weight of the cross-entropy to the label that a sample shall have (Eq. 4).",
        "adversarial_weight": "gamma: weight of disagreement between teacher and student (Eq. 4).",
        "adversarial": "How disagreement is measured: kl where both agree (FRAMI, CMI), or js (DeepInversion).",
        "contrast_weight": "Weight of the contrast between samples (Eq. 3).",
        "finv_weight": "Weight of T_finv / tau, the likeness of a sample's chunks (Eq. 2); ignored for words.",
        "chunk_class_weight": "Weight of the cross-entropy of a sample's chunks; ignored for words, not in the paper.",
        "tv_weight": "Weight of total variation (DeepInversion).",
        "tau": "Temperature of the contrast.",
        "adversarial_tau": "Temperature of the disagreement.",
        "negatives": "Samples of the bank that each sample is contrasted with.",
        "min_chunks": "Least number of chunks K in T_finv.",
        "max_chunks": "Largest number of chunks K in T_finv.",
        "min_chunk_frames": "Chunks are never shorter than this.",
        "prepare": "Bring samples to length as the teacher's card says that clips were.",
        "bank_samples": "Samples kept for the student; the oldest leave.",
    },
    "distillation": {
        "": "How the student learns from the samples (Eqs. 6 to 11).",
        "batch_size": "Samples in a step.",
        "momentum": "Of SGD and Muon.",
        "weight_decay": "Of SGD.",
        "lr_reuse": "Learning rate of Adam for the maps W_m and W_v of the reuse losses.",
        "replay": "How often each pass through the teacher is used.",
        "views": {
            "": "The views that the student is trained on.",
            "shortest": "Part of a clip that is kept at least; ignored for words.",
            "shift": "Furthest shift of words, as a share of the frames.",
            "mask_bands": "Widest run of silenced Mel bands, as a share of all (SpecAugment).",
            "mask_frames": "Widest run of silenced frames, as a share of all.",
            "noise": "Standard deviation of added noise, in units of the normalised log-Mel.",
        },
        "alternate": {"": "After each synthesized batch but those of the warm-up:", **PHASE},
        "finish": {"": "A fresh student over the whole bank; 0 steps leave it out:", **PHASE},
    },
    "training": {
        "": "How a network learns from labelled recordings.",
        "epochs": "Passes over the recordings; 0 stands for 40, and at least 1600 steps.",
        "batch_size": "Clips in a step.",
        "lr": "Learning rate of SGD at the start; it falls as a cosine.",
        "muon_lr": "Learning rate of Muon, for the convolutions, at the start; 0: SGD for them too.",
        "momentum": "Of SGD and Muon.",
        "weight_decay": "Of SGD.",
        "clip_norm": "Largest norm of the gradient, which is scaled down to it; 0 for none.",
        "temperature": "With a teacher: T of the imitation, KL * T^2.",
        "hard_weight": "With a teacher: weight of the cross-entropy to the labels beside the imitation.",
    },
    "cell": {
        "": "The cell of a table that the recipe is for; 'frami-edge reproduce' goes by it.",
        "dataset": "The data set, by its layout.",
        "test": "Groups (folds, speakers) that are kept from training and give the accuracy.",
        "kind": "What gives the accuracy: teacher, student (labels), kd (imitation on recordings), or data-free.",
        "teacher": "Network of the teacher.",
        "student": "Network of the student; none where the teacher itself is the cell.",
        "tables": "Tables of the paper that hold the cell.",
        "paper": "The accuracy in % that the paper gives.",
        "optional": "Left out of 'frami-edge reproduce' unless it is named.",
    },
}


def annotated(values: dict[str, Any], sentences: dict[str, Any] | None = None, name: str = "") -> str:
    """Nested values as TOML, with the sentence of each table and key as a comment above it."""
    from frami_edge.tables import to_toml

    sentences = SENTENCES if sentences is None else sentences
    lines = [f"# {sentences['']}"] if sentences.get("") else []
    lines += [f"[{name}]"] if name else []
    for key, value in values.items():
        if not isinstance(value, dict):
            sentence = sentences.get(key)
            lines += [f"# {sentence}"] if sentence else []
            lines.append(to_toml({key: value}).strip())
    for key, value in values.items():
        if isinstance(value, dict):
            lines += ["", annotated(value, sentences.get(key, {}), f"{name}.{key}" if name else key).rstrip()]
    return "\n".join(lines).lstrip("\n") + "\n"
