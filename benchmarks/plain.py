"""The loop that ours is compared with: model inversion and distillation as the published repositories have it.

Written from their description (CMI, arXiv:2105.08584; Fast-DFKD, arXiv:2112.15278; DeepInversion, arXiv:1912.08795),
with what costs them time kept: float32 in the default memory format, a teacher whose weights collect gradients,
BatchNorm statistics by hooks that permute and copy, also in passes that do not need them, the input of every
BatchNorm as embedding, and negatives projected anew at each step.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frami_edge.inversion import losses, views
from frami_edge.inversion.generator import Generator
from frami_edge.networks.base import Network
from frami_edge.recipe import Recipe
from frami_edge.teacher.taps import Teacher

NEGATIVES = 4096


class PlainLoop:
    """One inversion step and one KD step of a recipe's method, in plain eager float32."""

    def __init__(self, teacher: Teacher, student: Network, recipe: Recipe) -> None:
        self.net = copy.deepcopy(teacher.net).float().eval().requires_grad_(True)
        self.student, self.card, self.settings = student.float(), teacher.card, recipe.inversion
        self.kd = recipe.distillation
        self.inputs: list[Tensor] = []
        self.statistics: list[tuple[Tensor, Tensor]] = []
        self.norms = [module for module in self.net.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in self.norms:
            norm.register_forward_pre_hook(self._hook)
        spec, settings, batch = self.card.frontend, self.settings, self.settings.batch_size
        self.labels = torch.arange(batch) % self.card.classes
        if settings.method == "adi":
            self.log_mel = torch.randn(batch, spec.n_mels, self.card.frames, requires_grad=True)
            parameters = [self.log_mel]
        else:
            self.generator = Generator(spec.n_mels, self.card.frames, spec.log_floor, spec.log_ceiling, settings.nz,
                                       settings.ngf)
            self.noise = torch.randn(batch, settings.nz, requires_grad=True)
            parameters = [*self.generator.parameters(), self.noise]
        if settings.contrast_weight:
            width = sum(norm.num_features for norm in self.norms)
            self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 256))
            self.bank = torch.randn(NEGATIVES, width)
            parameters += list(self.head.parameters())
        self.optimizer = torch.optim.Adam(parameters, lr=1e-3)
        self.kd_optimizer = torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.9)

    def inversion_step(self) -> None:
        settings = self.settings
        x = self.log_mel if settings.method == "adi" else self._normalised(self.generator(self.noise))
        logits = self._teacher(x)
        own = self._embedding()
        total = settings.class_weight * F.cross_entropy(logits, self.labels) + settings.bn_weight * self._bn_loss()
        total = total + settings.adversarial_weight * losses.adversarial_loss(logits, self.student.eval()(x), 1.0)
        if settings.tv_weight:
            total = total + settings.tv_weight * losses.total_variation(x)
        if settings.contrast_weight:
            self._teacher(views.local_view(x, self.card.time_dependent, 0.0))
            anchors, positives = (F.normalize(self.head(part), dim=1) for part in (self._embedding(), own))
            negatives = F.normalize(self.head(self.bank), dim=1)
            total = total + losses.info_nce(anchors, positives.detach(), negatives.detach(), settings.tau)
        if settings.finv_weight and not self.card.time_dependent:
            self._teacher(views.chunks(x, 3))
            chunks = F.normalize(self.head(self._embedding()), dim=1).unflatten(0, (3, len(x)))
            total = total - losses.time_invariance(chunks).mean()
        self.optimizer.zero_grad()
        total.backward()
        self.optimizer.step()

    def kd_step(self, x: Tensor) -> None:
        with torch.no_grad():
            target = self._teacher(x)
        self.student.train()
        loss = F.kl_div((self.student(x) / 20).log_softmax(1), (target / 20).softmax(1), reduction="batchmean") * 400
        self.kd_optimizer.zero_grad()
        loss.backward()
        self.kd_optimizer.step()

    def _teacher(self, x: Tensor) -> Tensor:
        self.inputs.clear()
        self.statistics.clear()
        return self.net(x.unsqueeze(1))

    def _hook(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0]
        flat = x.permute(1, 0, 2, 3).contiguous().view(x.shape[1], -1)
        self.statistics.append((flat.mean(1), flat.var(1, unbiased=False)))
        self.inputs.append(x.mean((2, 3)))

    def _embedding(self) -> Tensor:
        return torch.cat(self.inputs, dim=1)

    def _bn_loss(self) -> Tensor:
        return torch.stack([(mean - norm.running_mean).norm() + (variance - norm.running_var).norm()
                            for (mean, variance), norm in zip(self.statistics, self.norms, strict=True)]).sum()

    def _normalised(self, log_mel: Tensor) -> Tensor:
        spec = self.card.frontend
        return (log_mel - spec.normalisation.mean) / spec.normalisation.std
