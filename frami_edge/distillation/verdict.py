"""How far a student can be trusted, without a recording: judged on samples that neither bank nor student has seen."""

import math
import time
from typing import NamedTuple

import torch
from torch import Tensor

from frami_edge.compute import Compute
from frami_edge.errors import FramiError
from frami_edge.evaluation import divergences
from frami_edge.inversion import batch_norm, quality, views
from frami_edge.inversion.bank import Bank
from frami_edge.inversion.noise import NoiseSynthesizer
from frami_edge.inversion.synthesizer import Synthesizer
from frami_edge.networks.base import Network
from frami_edge.teacher.taps import Teacher

FRESH_BATCHES = 2  # synthesized for the verdict alone
LEAST_CONFIDENCE = 0.5  # of the teacher in the class asked for; good runs have over 0.9
LEAST_AGREEMENT = 0.96  # most good runs have 97 % or more (docs/results/teachers.md)


class Verdict(NamedTuple):
    samples: int
    agreement: float  # share on which student and teacher name the same class
    divergence: float  # KL(teacher || student) in nats; it tells students apart whose agreement is the same
    teacher_confidence: float  # mean probability that the teacher gives to the class asked for
    bn_gap: float  # L_bn (Eq. 4) of the fresh samples together
    noise_bn_gap: float  # L_bn of as much noise: what knowing nothing of the teacher's data gives
    diversity: float | None  # mean cosine distance within a class of the teacher's pooled states; None without pairs
    richness: float | None  # share of the chunks that have their sample's class; None for clips too short to cut
    chunk_spread: float | None  # of the true class's logit over the chunks of a sample

    @property
    def failed(self) -> bool:
        """Whether the samples mean nothing to the teacher itself, and so nothing is known of the student."""
        return self.teacher_confidence < LEAST_CONFIDENCE

    @property
    def doubtful(self) -> bool:
        """Whether the student decides otherwise than its teacher too often."""
        return self.agreement < LEAST_AGREEMENT


def judge(student: Network, synthesizer: Synthesizer, bank: Bank, seconds: float = math.inf) -> Verdict:
    """The verdict; makes :data:`FRESH_BATCHES` batches, in ``seconds`` each at most, which do not enter the bank.

    Raises:
        FramiError: the student's answers are not finite. In training its BatchNorms take the statistics of the batch;
            those that they keep for inference may be broken all the same.
    """
    teacher, compute, settings = synthesizer.teacher, synthesizer.compute, synthesizer.settings
    made = [synthesizer.synthesize(None, bank, until=time.monotonic() + seconds).samples for _ in range(FRESH_BATCHES)]
    noise = [NoiseSynthesizer(teacher, settings, compute).synthesize(None, bank).samples for _ in range(FRESH_BATCHES)]
    x, noise_x = (synthesizer.normalise(torch.cat([part.log_mel for part in parts]).to(compute.device))
                  for parts in (made, noise))
    labels = torch.cat([part.labels for part in made]).to(compute.device)
    student = compute.place(student).eval()
    with torch.no_grad(), compute.autocast():
        hidden, ours = teacher.forward_hidden(x), student(x)
        richness = _richness(teacher, x, labels, settings.min_chunks, settings.min_chunk_frames)
    student.cpu()
    if not ours.isfinite().all():
        raise FramiError("The student's answers to fresh samples are not finite, though its losses were.",
                         "A lower rate may help: --set distillation.finish.lr=0.02; so may bounded gradients, "
                         "--set distillation.finish.clip_norm=1, and --precision float32.")
    theirs = hidden.logits.float()
    return Verdict(
        samples=len(x),
        agreement=float((theirs.argmax(1) == ours.argmax(1)).float().mean()),
        divergence=float(divergences(theirs.cpu().numpy(), ours.float().cpu().numpy()).mean()),
        teacher_confidence=float(theirs.softmax(1).gather(1, labels.unsqueeze(1)).mean()),
        bn_gap=_bn_gap(teacher, x, compute),
        noise_bn_gap=_bn_gap(teacher, noise_x, compute),
        diversity=quality.within_class_diversity(hidden.pooled, labels),
        richness=richness.share if richness else None,
        chunk_spread=richness.spread if richness else None,
    )


@torch.no_grad()
def _bn_gap(teacher: Teacher, x: Tensor, compute: Compute) -> float:
    with compute.autocast(), batch_norm.recording(teacher) as statistics:
        teacher(x)
    return float(batch_norm.bn_loss(statistics, batch_norm.targets(teacher)))


def _richness(teacher: Teacher, x: Tensor, labels: Tensor, fewest: int, shortest: int
              ) -> quality.TemporalRichness | None:
    """Over as many chunks as keep ``shortest`` frames each; None where that is less than ``fewest``."""
    count = x.shape[2] // shortest
    if count < fewest:
        return None
    logits = teacher(views.chunks(x, count)).float()
    return quality.temporal_richness(logits.unflatten(0, (count, len(x))), labels)
