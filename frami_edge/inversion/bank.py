"""The bank of synthesized samples: what the student learns from, and the negatives of the contrast."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from frami_edge.errors import FramiError
from frami_edge.files import write_atomically


class Samples(NamedTuple):
    """A batch as it is kept."""

    log_mel: Tensor  # (batch, n_mels, frames), before normalisation, float16 on disk
    labels: Tensor  # (batch,)
    embeddings: Tensor  # (batch, d) un-projected stage statistics, so that negatives cost no teacher pass


class Bank:
    """Batches of samples in a folder, one file each; all of it in memory too, as it is small.

    Args:
        folder: created; batches of this teacher that are there are taken up.
        teacher_sha256: samples of another teacher are refused, never mixed in.
        capacity: samples kept; the oldest batches leave. Their files stay until :meth:`tidy`.
    """

    def __init__(self, folder: Path, teacher_sha256: str, capacity: int) -> None:
        self.folder, self.teacher_sha256, self.capacity = Path(folder), teacher_sha256, capacity
        self.folder.mkdir(parents=True, exist_ok=True)
        self._batches: dict[int, Samples] = {}
        self._joined: Samples | None = None
        for index, path in batch_files(self.folder).items():
            self._batches[index] = self._read(path)

    def __len__(self) -> int:
        return sum(len(batch.labels) for batch in self._batches.values())

    def add(self, index: int, samples: Samples) -> int:
        """Keep the finite samples of batch ``index``; returns how many those are."""
        finite = samples.log_mel.flatten(1).isfinite().all(1) & samples.embeddings.isfinite().all(1)
        kept = Samples(samples.log_mel[finite].half().cpu().clone(), samples.labels[finite].cpu().clone(),
                       samples.embeddings[finite].float().cpu().clone())
        if not len(kept.labels):
            return 0
        content = {"teacher_sha256": self.teacher_sha256, **kept._asdict()}
        write_atomically(self._path(index), lambda aside: torch.save(content, aside))
        self._batches[index] = kept
        self._joined = None
        self._forget_oldest()
        return len(kept.labels)

    def take_up(self, indices: Iterable[int]) -> None:
        """Read batches that other processes have just added.

        Raises:
            FramiError: one is not there: the processes do not share a folder.
        """
        for index in indices:
            if not self._path(index).is_file():
                raise FramiError(f"{self._path(index)} is not there, and another process has made it.",
                                 "All processes of a run need one folder: choose an --out that they share.")
            self._batches[index] = self._read(self._path(index))
            self._joined = None
        self._forget_oldest()

    def drop_from(self, index: int) -> None:
        """Forget batches from ``index`` on: they were made after the checkpoint that a run goes on from."""
        self._joined = None
        for later in [key for key in self._batches if key >= index]:
            del self._batches[later]
            self._path(later).unlink(missing_ok=True)
        self._forget_oldest()

    def indices(self) -> list[int]:
        """The batches that are here, oldest first: what a checkpoint notes."""
        return sorted(self._batches)

    def require(self, indices: Iterable[int]) -> None:
        """Raise :class:`FramiError` where a batch is missing that a checkpoint noted: samples are not made again."""
        missing = [self._path(index).name for index in indices if index not in self._batches]
        if missing:
            raise FramiError(f"{self.folder} has lost {', '.join(missing[:3])}{' ...' if len(missing) > 3 else ''} "
                             f"({len(missing)} in all).", "Put them back, or start anew with --force.")

    def tidy(self) -> None:
        """Remove the files of batches that have left: once a checkpoint is written that does without them."""
        oldest = min(self._batches, default=0)
        for index, path in batch_files(self.folder).items():
            if index < oldest:
                path.unlink(missing_ok=True)

    def draw(self, count: int, newest: float = 0.0) -> tuple[Tensor, Tensor]:
        """``count`` random log-Mels (float32) and labels; half of them from the ``newest`` share, if there is one."""
        log_mel, labels, _ = self._join()
        index = torch.randint(len(labels), (count,))
        if newest:
            recent = max(1, round(newest * len(labels)))
            half = count // 2
            index[:half] = len(labels) - 1 - torch.randint(recent, (half,))
        return log_mel[index].float(), labels[index]

    def embeddings(self, count: int) -> Tensor:
        """At most ``count`` random embeddings (n, d); (0, 0) where the bank is empty."""
        if not self._batches:
            return torch.empty(0, 0)
        every = self._join().embeddings
        return every[torch.randperm(len(every))[:count]]

    def whole(self) -> Samples:
        """All samples, oldest first, as they are kept: float16 log-Mels before normalisation."""
        return self._join()

    def _join(self) -> Samples:
        """All batches as one, oldest first."""
        if self._joined is None:
            batches = [self._batches[key] for key in sorted(self._batches)]
            self._joined = Samples(*(torch.cat(column) for column in zip(*batches, strict=True)))
        return self._joined

    def _forget_oldest(self) -> None:
        while len(self) > self.capacity and len(self._batches) > 1:
            del self._batches[min(self._batches)]

    def _path(self, index: int) -> Path:
        return self.folder / f"batch-{index:05d}.pt"

    def _read(self, path: Path) -> Samples:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            owner, samples = content.pop("teacher_sha256"), Samples(**content)
        except Exception as error:  # whatever torch raises on a damaged file
            raise FramiError(f"{path} is damaged ({type(error).__name__}).",
                             "Put an undamaged copy of it there, or start anew with --force.") from error
        if owner != self.teacher_sha256:
            raise FramiError(f"{path} holds samples of another teacher.", "Choose another run folder, or --force.")
        return samples


def samples_of(run: Path, teacher_sha256: str, hint: str) -> Samples:
    """All samples that lie in the folder of a finished run, oldest first.

    Raises:
        FramiError: there are none, which ``hint`` is for, or they are of another teacher.
    """
    folder = run / "bank"
    if not batch_files(folder):
        raise FramiError(f"{folder} holds no synthesized samples.", hint)
    return Bank(folder, teacher_sha256, capacity=10**9).whole()


def batch_files(folder: Path) -> dict[int, Path]:
    """The files of the batches in ``folder`` by their numbers; "batch-00001 (1).pt" of a file manager is none."""
    found = {int(match[1]): path for path in folder.glob("batch-*.pt")
             if (match := re.fullmatch(r"batch-(\d+)\.pt", path.name))}
    return dict(sorted(found.items()))
