"""FRAMI's synthesizer: one call makes one batch of samples (the inversion phase of Algorithm 1)."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from frami_edge.compute import Compute
from frami_edge.errors import FramiError
from frami_edge.inversion import batch_norm, losses, views
from frami_edge.inversion.bank import Bank, Samples
from frami_edge.inversion.embedding import Head, stage_statistics
from frami_edge.inversion.generator import Generator
from frami_edge.networks.base import Network
from frami_edge.recipe import Inversion
from frami_edge.teacher.taps import Teacher

BETAS = (0.5, 0.999)  # of Adam for generator and noise, as in CMI


class Synthesized(NamedTuple):
    samples: Samples
    losses: dict[str, float]  # of the step that was kept


class _Step(NamedTuple):
    """What one step made and measured. The samples are a copy: the optimizer changes the generator, not them."""

    log_mel: Tensor
    embeddings: Tensor
    statistics: dict[str, batch_norm.Statistics]
    losses: dict[str, float]


class FramiSynthesizer:
    """Trains a generator against the frozen teacher; what is updated is g, z and the head h.

    (Algorithm 1 also writes theta_s here, which would train the student to disagree; it is read as a misprint.)
    """

    def __init__(self, teacher: Teacher, settings: Inversion, compute: Compute) -> None:
        if settings.bn_weight:
            teacher.require_batch_norms()
        self.teacher, self.settings, self.compute = teacher, settings, compute
        self.card = teacher.card
        spec = self.card.frontend
        self.mean, self.std = ((spec.normalisation.mean, spec.normalisation.std)
                               if spec.normalisation.kind == "global" else (0.0, 1.0))
        self.target = batch_norm.targets(teacher)
        self.history = batch_norm.History(settings.bn_momentum)
        self.max_chunks = 0 if self.card.time_dependent or not settings.finv_weight else min(
            settings.max_chunks, self.card.frames // settings.min_chunk_frames)
        self.head = Head(self._embedding_size()).to(compute.device)
        self.head_optimizer = torch.optim.Adam(self.head.parameters(), lr=settings.lr_head)
        self._new_generator()
        self.batches_made = 0

    def planned_steps(self, batches: int) -> int:
        """Steps that the first ``batches`` batches take."""
        settings = self.settings
        first = batches if settings.restart else min(batches, 1)
        return first * settings.first_steps + (batches - first) * settings.steps

    def synthesize(self, student: Network | None, bank: Bank,
                   told: Callable[[int, dict[str, float]], None] = lambda step, losses: None) -> Synthesized:
        """One batch: the samples of the step with the lowest L_inv.

        Args:
            student: frozen and in eval mode here, to be provoked by L_adv; None leaves L_adv out (warm-up).
            bank: gives the negatives.
            told: called after each step with the steps done and their losses.

        Raises:
            FramiError: no step gave finite losses.
        """
        settings = self.settings
        fresh = self.batches_made == 0 or settings.restart
        if fresh and self.batches_made:
            self._new_generator()
        self.batches_made += 1
        labels = balanced_labels(settings.batch_size, self.card.classes).to(self.compute.device)
        noise = torch.randn(settings.batch_size, settings.nz, device=self.compute.device, requires_grad=True)
        z_optimizer = torch.optim.Adam([noise], lr=settings.lr_z, betas=BETAS)
        lengths = views.draw_lengths(settings.batch_size, self.card.frames).to(self.compute.device)
        best: _Step | None = None
        for done in range(settings.first_steps if fresh else settings.steps):
            with self.compute.autocast():
                log_mel = self.generator(noise)
            log_mel = self._prepared(log_mel, lengths)
            for optimizer in (self.optimizer, self.head_optimizer, z_optimizer):
                optimizer.zero_grad(set_to_none=True)
            step = self._backward(log_mel, labels, student, bank)
            told(done + 1, step.losses)
            if not math.isfinite(step.losses["total"]):
                continue
            if best is None or step.losses["inversion"] < best.losses["inversion"]:
                best = step
            for optimizer in (self.optimizer, self.head_optimizer, z_optimizer):
                optimizer.step()
        if best is None:
            raise FramiError("The inversion losses are not finite at any step.",
                             "Compare the card's front-end and normalisation with the vendor's; or try float32.")
        self.history.update(best.statistics)
        return Synthesized(Samples(best.log_mel.cpu(), labels.cpu(), best.embeddings.cpu()), best.losses)

    def normalise(self, log_mel: Tensor) -> Tensor:
        """The card's normalisation."""
        return (log_mel - self.mean) / self.std

    @property
    def floor(self) -> float:
        """The normalised log-Mel of silence."""
        return (self.card.frontend.log_floor - self.mean) / self.std

    def state_dict(self) -> dict[str, Any]:
        return {
            "generator": self.generator.state_dict(), "generator_optimizer": self.optimizer.state_dict(),
            "head": self.head.state_dict(), "head_optimizer": self.head_optimizer.state_dict(),
            "history": self.history.state_dict(), "batches_made": self.batches_made,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.load_state_dict(state["generator"])
        self.optimizer.load_state_dict(state["generator_optimizer"])
        self.head.load_state_dict(state["head"])
        self.head_optimizer.load_state_dict(state["head_optimizer"])
        self.history.load_state_dict(state["history"], self.compute.device)
        self.batches_made = state["batches_made"]

    def _new_generator(self) -> None:
        spec, settings = self.card.frontend, self.settings
        generator = Generator(spec.n_mels, self.card.frames, spec.log_floor, spec.log_ceiling, settings.nz,
                              settings.ngf)
        self.generator = self.compute.place(generator).train()
        self.optimizer = torch.optim.Adam(generator.parameters(), lr=settings.lr_generator, betas=BETAS)

    def _prepared(self, log_mel: Tensor, lengths: Tensor) -> Tensor:
        if not self.settings.prepare:
            return log_mel
        return views.prepare(log_mel, self.card.clip.preparation, self.card.frontend.log_floor, lengths)

    def _backward(self, log_mel: Tensor, labels: Tensor, student: Network | None, bank: Bank) -> "_Step":
        """One step's losses, with their gradients left in generator, noise and head.

        Each pass through the teacher is followed by its own backward to the samples, and the sum goes through the
        generator once: the activations of one pass are in memory at a time, not those of three.
        """
        settings, samples = self.settings, log_mel.detach().clone().requires_grad_()
        x = self.normalise(samples)
        terms, embeddings, statistics = self._inversion_terms(x, labels, student)
        total = terms["inversion"]
        total.backward()
        if settings.contrast_weight:
            terms["contrast"] = self._contrast(self.normalise(samples), embeddings, bank)
            weighted = settings.contrast_weight * terms["contrast"]
            weighted.backward()
            total = total.detach() + weighted.detach()
        if self.max_chunks >= settings.min_chunks:
            terms["finv"] = self._time_invariance(self.normalise(samples))
            weighted = -settings.finv_weight / settings.tau * terms["finv"]
            weighted.backward()
            total = total.detach() + weighted.detach()
        log_mel.backward(samples.grad)
        terms["total"] = total
        losses_now = {name: float(value.detach()) for name, value in terms.items()}
        return _Step(samples.detach(), embeddings, statistics, losses_now)

    def _inversion_terms(self, x: Tensor, labels: Tensor, student: Network | None
                         ) -> tuple[dict[str, Tensor], Tensor, dict[str, batch_norm.Statistics]]:
        """L_inv with its terms (Eq. 4), the un-projected embeddings (batch, d), and the batch statistics."""
        settings = self.settings
        # statistics are taken in the pass over x alone, never in those over views or chunks
        with self.compute.autocast(), batch_norm.recording(self.teacher) as statistics:
            hidden = self.teacher.forward_hidden(x)
        terms = {
            "bn": batch_norm.bn_loss(self.history.blend(statistics), self.target),
            "class": losses.class_loss(hidden.logits, labels),
        }
        inversion = settings.bn_weight * terms["bn"] + settings.class_weight * terms["class"]
        if student is not None and settings.adversarial_weight:
            with self.compute.autocast():
                student_logits = student(x)
            terms["adversarial"] = losses.adversarial_loss(hidden.logits, student_logits.float(),
                                                           settings.adversarial_tau)
            inversion = inversion + settings.adversarial_weight * terms["adversarial"]
        kept = {name: batch_norm.Statistics(value.mean.detach(), value.variance.detach())
                for name, value in statistics.items()}
        embeddings = stage_statistics([stage.detach() for stage in hidden.stages])
        return terms | {"inversion": inversion}, embeddings, kept

    def _contrast(self, x: Tensor, embeddings: Tensor, bank: Bank) -> Tensor:
        """InfoNCE of a local view of each sample against the sample, the batch and the bank (Eq. 3)."""
        anchors = self.head(self._embed(views.local_view(x, self.card.time_dependent, self.floor)))
        kept = bank.embeddings(self.settings.negatives).to(x.device)
        negatives = self.head(kept).detach() if len(kept) else anchors.new_empty(0, anchors.shape[1])
        return losses.info_nce(anchors, self.head(embeddings).detach(), negatives, self.settings.tau)

    def _time_invariance(self, x: Tensor) -> Tensor:
        """Mean T_finv over the batch (Eq. 2); all chunks together cost one pass over x."""
        count = int(torch.randint(self.settings.min_chunks, self.max_chunks + 1, ()))
        projected = self.head(self._embed(views.chunks(x, count)))
        return losses.time_invariance(projected.unflatten(0, (count, len(x)))).mean()

    def _embed(self, x: Tensor) -> Tensor:
        with self.compute.autocast():
            stages = self.teacher.forward_hidden(x).stages
        return stage_statistics(stages)

    @torch.no_grad()
    def _embedding_size(self) -> int:
        spec = self.card.frontend
        return self._embed(torch.zeros(2, spec.n_mels, self.card.frames, device=self.compute.device)).shape[1]


def balanced_labels(count: int, classes: int) -> Tensor:
    """``count`` labels, each class as often as any other up to one; which ones get one more is random."""
    rounds = -(-count // classes)
    return torch.cat([torch.randperm(classes) for _ in range(rounds)])[:count]


