"""Model inversion: batches that are optimised against the frozen teacher (the inversion phase of Algorithm 1)."""

import math
import time
from typing import Any, NamedTuple

import torch
from torch import Tensor

from frami_edge.compute import Compute
from frami_edge.errors import FramiError
from frami_edge.inversion import batch_norm, losses, views
from frami_edge.inversion.bank import Bank, Samples
from frami_edge.inversion.embedding import Head, stage_statistics
from frami_edge.inversion.sources import BETAS_ADI, Source, usual_levels
from frami_edge.inversion.synthesizer import Labels, Synthesized, Synthesizer, Told, nobody
from frami_edge.networks.base import Network
from frami_edge.recipe import Inversion
from frami_edge.teacher.frozen import CheapGradients
from frami_edge.teacher.taps import Teacher

INPUT = "<input>"  # beside the names of the BatchNorm layers


class _Step(NamedTuple):
    """What one step made and measured. The samples are a copy: the optimizer changes the source, not them."""

    log_mel: Tensor
    lengths: Tensor  # of the clips within the samples, in frames, (batch, 1)
    embeddings: Tensor
    statistics: dict[str, batch_norm.Statistics]
    losses: dict[str, float]


class Inverter(Synthesizer):
    """Optimises a source (a generator, or the log-Mels themselves) against the teacher; FRAMI and its rivals.

    The recipe's weights say which losses count: FRAMI has all of them, CMI no T_finv, Fast-DFKD neither T_finv nor
    the contrast, and DeepInversion adds the total variation. What is updated is the source and the head h.
    (Algorithm 1 also writes theta_s here, which would train the student to disagree; it is read as a misprint.)
    """

    def __init__(self, teacher: Teacher, settings: Inversion, compute: Compute, source: Source) -> None:
        super().__init__(teacher, settings, compute)
        if settings.bn_weight:
            teacher.require_batch_norms()
        self.source = source
        self.target = batch_norm.targets(teacher)
        self.history = batch_norm.History(settings.bn_momentum)
        cuts = not self.card.time_dependent and (settings.finv_weight > 0 or settings.chunk_class_weight > 0)
        self.max_chunks = settings.most_chunks(self.card.frames) if cuts else 0
        self.head = Head(self._embedding_size()).to(compute.device)
        self.head_optimizer = torch.optim.Adam(self.head.parameters(), lr=settings.lr_head)
        self.lengths_optimizer = torch.optim.Adam(self.lengths.parameters(), lr=settings.lr_lengths)
        # what the normalisation of each clip makes so says nothing of the training clips
        normalisation = self.card.frontend.normalisation
        self.knows_input = normalisation.kind in ("global", "per-band") and normalisation.measured
        self.input_by_band = normalisation.kind == "per-band"
        known = self.card.frontend.rows if self.input_by_band else 1
        self.input_target = batch_norm.Statistics(torch.zeros(known, device=compute.device),
                                                  torch.ones(known, device=compute.device))
        self.labels = Labels(self.card.classes)
        self.batches_made = 0

    def synthesize(self, student: Network | None, bank: Bank, told: Told = nobody, until: float = math.inf
                   ) -> Synthesized:
        """One batch: the samples of the step with the lowest L_inv, refined where the recipe says so."""
        labels = self.labels.draw(self.settings.batch_size).to(self.compute.device)
        uniform = torch.rand(len(labels), 1, device=self.compute.device)
        best: _Step | None = None
        self.source.begin()
        steps = self.settings.generator_steps(self.batches_made)
        for done in range(steps):
            if done and time.monotonic() > until:
                break
            lengths = self.lengths(uniform)
            log_mel = self.prepared(self.source.draw(), lengths)
            self.source.zero_grad()
            self.head_optimizer.zero_grad(set_to_none=True)
            self.lengths_optimizer.zero_grad(set_to_none=True)
            step = self._backward(log_mel, lengths.detach(), labels, student, bank)
            told(done + 1, step.losses)
            if not math.isfinite(step.losses["total"]):
                continue
            if best is None or step.losses["inversion"] < best.losses["inversion"]:
                best = step
            self.source.step()
            self.head_optimizer.step()
            self.lengths_optimizer.step()
        self.batches_made += 1
        if best is None:
            raise FramiError("The inversion losses are not finite at any step.",
                             "Compare the card's front-end and normalisation with the vendor's; or try float32.")
        self.source.end()
        if self.settings.refine_steps:
            best = self._refined(best, labels, student, lambda done, terms: told(steps + done, terms), until)
        self.history.update(best.statistics)
        return Synthesized(Samples(best.log_mel.cpu(), labels.cpu(), best.embeddings.cpu()), best.losses)

    def state_dict(self) -> dict[str, Any]:
        return {
            "source": self.source.state_dict(), "lengths": self.lengths.state_dict(),
            "lengths_optimizer": self.lengths_optimizer.state_dict(), "head": self.head.state_dict(),
            "head_optimizer": self.head_optimizer.state_dict(), "history": self.history.state_dict(),
            "batches_made": self.batches_made, "waiting_labels": self.labels.waiting,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.source.load_state_dict(state["source"])
        self.lengths.load_state_dict(state["lengths"])
        self.lengths_optimizer.load_state_dict(state["lengths_optimizer"])
        self.head.load_state_dict(state["head"])
        self.head_optimizer.load_state_dict(state["head_optimizer"])
        self.history.load_state_dict(state["history"], self.compute.device)
        self.batches_made = state["batches_made"]
        self.labels.waiting = state.get("waiting_labels", self.labels.waiting)  # checkpoints of before have none

    def _backward(self, log_mel: Tensor, lengths: Tensor, labels: Tensor, student: Network | None,
                  bank: Bank) -> _Step:
        """One step's losses, with their gradients left in source and head.

        Each pass through the teacher is followed by its own backward to the samples, and the sum goes through the
        source once: the activations of one pass are in memory at a time, not those of three.
        """
        settings, samples = self.settings, log_mel.detach().clone().requires_grad_()
        x = self.normalise(samples)
        terms, embeddings, statistics = self._inversion_terms(x, labels, student)
        total = terms["inversion"]
        total.backward()
        if settings.contrast_weight:
            terms["contrast"] = self._contrast(samples, embeddings, bank)
            weighted = settings.contrast_weight * terms["contrast"]
            weighted.backward()
            total = total.detach() + weighted.detach()
        if self.max_chunks:
            terms["finv"], terms["chunk_class"] = self._chunk_terms(self.normalise(samples), labels)
            weighted = (settings.chunk_class_weight * terms["chunk_class"]
                        - settings.finv_weight / settings.tau * terms["finv"])
            weighted.backward()
            total = total.detach() + weighted.detach()
        log_mel.backward(samples.grad)
        terms["total"] = total
        losses_now = {name: float(value.detach()) for name, value in terms.items()}
        return _Step(samples.detach(), lengths, embeddings, statistics, losses_now)

    def _refined(self, best: _Step, labels: Tensor, student: Network | None, told: Told, until: float) -> _Step:
        """The samples after steps of their own, without the generator: the ones with the lowest L_inv.

        As DeepInversion optimises its images, from where the generator has left them. Only L_inv is asked for, one pass
        through the teacher; what contrast and T_finv have brought stays in the samples, and their losses as they were.
        """
        others = best.losses["total"] - best.losses["inversion"]
        spec, (_, spread) = self.card.frontend, usual_levels(self.card)
        log_mel = best.log_mel.clone().requires_grad_()
        optimizer = torch.optim.Adam([log_mel], lr=self.settings.lr_refine * spread, betas=BETAS_ADI)
        for done in range(self.settings.refine_steps):
            if time.monotonic() > until:
                break
            samples = self.prepared(log_mel, best.lengths)
            terms, embeddings, statistics = self._inversion_terms(self.normalise(samples), labels, student)
            optimizer.zero_grad(set_to_none=True)
            terms["inversion"].backward()
            losses_now = best.losses | {name: float(value.detach()) for name, value in terms.items()}
            losses_now["total"] = others + losses_now["inversion"]
            told(done + 1, losses_now)
            if losses_now["inversion"] < best.losses["inversion"]:  # never where it is not finite
                best = _Step(samples.detach().clone(), best.lengths, embeddings, statistics, losses_now)
            optimizer.step()
            with torch.no_grad():
                log_mel.clamp_(spec.log_floor, spec.log_ceiling)
        return best

    def _inversion_terms(self, x: Tensor, labels: Tensor, student: Network | None
                         ) -> tuple[dict[str, Tensor], Tensor, dict[str, batch_norm.Statistics]]:
        """L_inv with its terms (Eq. 4), the un-projected embeddings (batch, d), and the batch statistics."""
        settings = self.settings
        # statistics are taken in the pass over x alone, never in those over views or chunks
        with self.compute.autocast(), batch_norm.recording(self.teacher) as statistics:
            hidden = self.teacher.forward_hidden(x)
        statistics[INPUT] = batch_norm.input_statistics(x, self.input_by_band)
        blended = self.history.blend(statistics)
        terms = {
            "bn": batch_norm.bn_loss(blended, self.target),
            "class": losses.class_loss(hidden.logits, labels),
        }
        inversion = settings.bn_weight * terms["bn"] + settings.class_weight * terms["class"]
        if self.knows_input and settings.input_weight:
            terms["input"] = batch_norm.layer_gap(blended[INPUT], self.input_target)
            inversion = inversion + settings.input_weight * terms["input"]
        if student is not None and settings.adversarial_weight:
            with self.compute.autocast(), CheapGradients():
                student_logits = student(x)
            provoke = losses.adversarial_loss if settings.adversarial == "kl" else losses.js_adversarial_loss
            terms["adversarial"] = provoke(hidden.logits, student_logits.float(), settings.adversarial_tau)
            inversion = inversion + settings.adversarial_weight * terms["adversarial"]
        if settings.tv_weight:
            terms["tv"] = losses.total_variation(x)
            inversion = inversion + settings.tv_weight * terms["tv"]
        kept = {name: batch_norm.Statistics(value.mean.detach(), value.variance.detach())
                for name, value in statistics.items()}
        embeddings = stage_statistics([stage.detach() for stage in hidden.stages])
        return terms | {"inversion": inversion}, embeddings, kept

    def _contrast(self, log_mel: Tensor, embeddings: Tensor, bank: Bank) -> Tensor:
        """InfoNCE of a local view of each sample against the sample, the batch and the bank (Eq. 3)."""
        x = self.normalise(log_mel)
        anchors = self.head(self.embed(views.local_view(x, self.card.time_dependent, self.silence(log_mel))))
        kept = bank.embeddings(self.settings.negatives).to(x.device)
        negatives = self.head(kept).detach() if len(kept) else anchors.new_empty(0, anchors.shape[1])
        return losses.info_nce(anchors, self.head(embeddings).detach(), negatives, self.settings.tau)

    def _chunk_terms(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean T_finv over the batch (Eq. 2), and the cross-entropy of the chunks to their samples' labels.

        All chunks together cost one pass over x.
        """
        count = int(torch.randint(self.settings.min_chunks, self.max_chunks + 1, ()))
        with self.compute.autocast():
            hidden = self.teacher.forward_hidden(views.chunks(x, count))
        projected = self.head(stage_statistics(hidden.stages)).unflatten(0, (count, len(x)))
        return losses.time_invariance(projected).mean(), losses.class_loss(hidden.logits, labels.repeat(count))

    @torch.no_grad()
    def _embedding_size(self) -> int:
        spec = self.card.frontend
        return self.embed(torch.zeros(2, spec.rows, self.card.frames, device=self.compute.device)).shape[1]
