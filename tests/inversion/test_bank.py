"""The bank: what goes in comes out, of this teacher alone."""

from pathlib import Path

import pytest
import torch

from frami_edge.errors import FramiError
from frami_edge.inversion.bank import Bank, Samples


def batch(value: float, count: int = 4) -> Samples:
    return Samples(torch.full((count, 3, 5), value), torch.full((count,), int(value)), torch.full((count, 2), value))


def test_comes_back_from_the_disk(tmp_path: Path) -> None:
    bank = Bank(tmp_path, "a", 100)
    bank.add(0, batch(1.0))
    again = Bank(tmp_path, "a", 100)
    log_mel, labels = again.draw(6)
    assert log_mel.shape == (6, 3, 5) and log_mel.dtype == torch.float32
    assert (log_mel == 1).all() and (labels == 1).all()


def test_keeps_a_copy(tmp_path: Path) -> None:
    """The trap: the batch goes on being optimised in place after it was kept."""
    bank, samples = Bank(tmp_path, "a", 100), batch(1.0)
    bank.add(0, samples)
    for tensor in samples:
        tensor.zero_()
    assert (bank.draw(4)[0] == 1).all() and (bank.embeddings(4) == 1).all()


def test_copies_that_a_file_manager_made_are_no_batches(tmp_path: Path) -> None:
    bank = Bank(tmp_path, "a", 4)
    bank.add(0, batch(1.0))
    (tmp_path / "batch-00000 (1).pt").write_bytes((tmp_path / "batch-00000.pt").read_bytes())
    again = Bank(tmp_path, "a", 4)
    again.add(1, batch(2.0))
    again.tidy()
    assert again.indices() == [1]
    assert {path.name for path in tmp_path.iterdir()} == {"batch-00001.pt", "batch-00000 (1).pt"}


def test_exactly_full_still_gives_negatives(tmp_path: Path) -> None:
    """The trap of CMI's code: a bank that returns nothing when exactly full."""
    bank = Bank(tmp_path, "a", 8)
    bank.add(0, batch(1.0))
    bank.add(1, batch(2.0))
    assert len(bank) == 8 and bank.embeddings(8).shape == (8, 2) and bank.draw(3)[0].shape[0] == 3
    bank.add(2, batch(3.0))
    assert len(bank) == 8 and set(bank.embeddings(8)[:, 0].tolist()) == {2.0, 3.0}
    assert len(list(tmp_path.iterdir())) == 3  # what the last checkpoint knew
    bank.tidy()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["batch-00001.pt", "batch-00002.pt"]


def test_only_finite_samples_stay(tmp_path: Path) -> None:
    samples = batch(1.0)
    samples.log_mel[1, 0, 0] = torch.nan
    samples.embeddings[2, 0] = torch.inf
    bank = Bank(tmp_path, "a", 100)
    assert bank.add(0, samples) == 2 and len(bank) == 2


def test_samples_of_another_teacher_are_refused(tmp_path: Path) -> None:
    Bank(tmp_path, "a", 100).add(0, batch(1.0))
    with pytest.raises(FramiError, match="another teacher"):
        Bank(tmp_path, "b", 100)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    Bank(tmp_path, "a", 100).add(0, batch(1.0))
    path = tmp_path / "batch-00000.pt"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(FramiError, match="batch-00000.pt is damaged"):
        Bank(tmp_path, "a", 100)


def test_newest_share(tmp_path: Path) -> None:
    bank = Bank(tmp_path, "a", 1000)
    for index in range(8):
        bank.add(index, batch(float(index)))
    _, labels = bank.draw(400, newest=0.25)
    assert (labels[:200] >= 6).all() and (labels[200:] < 6).any()


def test_a_run_that_goes_on_has_what_its_checkpoint_had(tmp_path: Path) -> None:
    """Killed between the batch that pushed the oldest out and its checkpoint: it is dropped, the oldest is back."""
    bank = Bank(tmp_path, "a", 8)
    for index in range(3):
        bank.add(index, batch(float(index)))
    again = Bank(tmp_path, "a", 8)
    again.drop_from(2)
    assert len(again) == 8 and set(again.embeddings(8)[:, 0].tolist()) == {0.0, 1.0}
    once_more = Bank(tmp_path, "a", 4)  # with room for less
    once_more.drop_from(2)
    assert set(once_more.embeddings(8)[:, 0].tolist()) == {1.0}


def test_drops_what_came_after_a_checkpoint(tmp_path: Path) -> None:
    bank = Bank(tmp_path, "a", 100)
    for index in range(3):
        bank.add(index, batch(float(index)))
    bank.drop_from(1)
    assert len(bank) == 4 and (bank.draw(4)[0] == 0).all() and len(list(tmp_path.iterdir())) == 1
