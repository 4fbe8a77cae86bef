"""Files that are not weights, or not whole, are told apart; no code runs unasked."""

import argparse
import os
import pickle
import sys
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from frami_edge.errors import FramiError
from frami_edge.teacher.reading import find_state_dicts, read_content


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    return {"weight": torch.randn(64, 32), "bias": torch.zeros(64)}


@pytest.mark.parametrize("legacy", [False, True])
def test_both_formats_of_torch_save_whatever_the_suffix(tmp_path: Path, weights: dict, legacy: bool) -> None:
    path = tmp_path / "teacher.bin"
    torch.save(weights, path, _use_new_zipfile_serialization=not legacy)
    content = read_content(path, trust=False)
    assert content.keys() == weights.keys() and torch.equal(content["weight"], weights["weight"])


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_truncated_file(tmp_path: Path, weights: dict, legacy: bool, share: float) -> None:
    path = tmp_path / "teacher.pt"
    torch.save(weights, path, _use_new_zipfile_serialization=not legacy)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(FramiError, match=f"truncated.*{int(share * len(whole))} bytes"):
        read_content(path, trust=False)


@pytest.mark.parametrize("content,message", [
    (b"", r"is empty \(0 bytes\)"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9161593\n", "Git LFS pointer"),
    (b"<!DOCTYPE html><html><body>Sign in</body></html>", "a web page"),
    (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
    (b"\x10\0\0\0\0\0\0\0{\"a\":[1,2,3,4]}" + bytes(100), "safetensors"),
    (b"RIFF\x24\x08\0\0WAVEfmt ", "not a PyTorch file .*RIFF"),
])
def test_other_kinds_of_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "teacher.pt"
    path.write_bytes(content)
    with pytest.raises(FramiError, match=message) as raised:
        read_content(path, trust=True)
    assert str(path) in raised.value.problem and raised.value.hint


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(FramiError, match="There is no file .*absent.pt"):
        read_content(tmp_path / "absent.pt", trust=False)
    with pytest.raises(FramiError, match="is not a file"):
        read_content(tmp_path, trust=False)


def test_a_zip_archive_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "teacher.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(FramiError, match="damaged"):
        read_content(path, trust=True)


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.witness),)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_file_is_named_and_not_run(tmp_path: Path, weights: dict, legacy: bool) -> None:
    witness, path = tmp_path / "ran", tmp_path / "teacher.pt"
    torch.save({"state_dict": weights, "extra": Bomb(witness)}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(FramiError, match=r"without running code: it wants .*mkdir") as raised:
        read_content(path, trust=False)
    assert "--trust" in raised.value.hint and not witness.exists()


@pytest.mark.parametrize("trust", [False, True])
def test_a_module_that_a_script_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trust: bool) -> None:
    path, main = tmp_path / "teacher.pt", sys.modules["__main__"]
    script = type("Net", (nn.Linear,), {"__module__": "__main__"})
    monkeypatch.setattr(main, "Net", script, raising=False)
    torch.save(script(2, 3), path)
    monkeypatch.delattr(main, "Net")
    with pytest.raises(FramiError, match="__main__") as raised:
        read_content(path, trust)
    assert "saved whole by a script" in raised.value.hint and "--arch" in raised.value.hint


def test_trust_reads_what_plain_reading_refuses(tmp_path: Path, weights: dict) -> None:
    path = tmp_path / "teacher.pt"
    torch.save({"state_dict": weights, "args": argparse.Namespace(lr=0.1)}, path)
    with pytest.raises(FramiError, match="argparse.Namespace"):
        read_content(path, trust=False)
    assert read_content(path, trust=True)["args"].lr == 0.1


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_pickle_that_torch_did_not_write(tmp_path: Path) -> None:
    path = tmp_path / "teacher.pt"
    path.write_bytes(pickle.dumps({"weight": [1, 2, 3]}))
    with pytest.raises(FramiError, match="damaged"):
        read_content(path, trust=False)


def test_quantized_layers_are_called_so(tmp_path: Path) -> None:
    path, net = tmp_path / "teacher.pt", nn.Sequential(nn.Conv1d(2, 4, 1), nn.Linear(4, 3))
    with warnings.catch_warnings():  # torch.ao is deprecated, and its files are there
        warnings.simplefilter("ignore")
        net = torch.ao.quantization.quantize_dynamic(net, {nn.Linear})
        for content, trust in ((net, True), (net.state_dict(), False), ({"model": net.state_dict()}, False)):
            torch.save(content, path)
            with pytest.raises(FramiError, match="is quantized") as raised:
                read_content(path, trust)
            assert "float32" in raised.value.hint
        torch.save({"float": nn.Linear(4, 3).state_dict(), "int8": net.state_dict()}, path)
        assert find_state_dicts(read_content(path, trust=False)).keys() == {"float"}


def test_what_a_network_keeps_beside_tensors_is_left_out() -> None:
    class Keeping(nn.Linear):
        def get_extra_state(self) -> dict[str, int]:
            return {"epoch": 3}

    assert find_state_dicts(Keeping(2, 3))[""].keys() == {"weight", "bias"}


def test_state_dicts_are_found_in_checkpoints(weights: dict) -> None:
    optimiser = {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}
    content = {"epoch": 3, "model": weights, "optimizer": optimiser, "ema": {"shadow": weights}}
    assert find_state_dicts(weights).keys() == {""}
    assert find_state_dicts(content).keys() == {"model", "ema.shadow"}
    assert find_state_dicts(nn.Linear(2, 3))[""].keys() == {"weight", "bias"}
    assert find_state_dicts({"epoch": 3}) == {} == find_state_dicts([weights])


def test_archives_that_unpack_to_far_more_than_they_are(tmp_path: Path, weights: dict) -> None:
    whole, path = tmp_path / "whole.pt", tmp_path / "teacher.pt"
    torch.save(weights, whole)
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, bytes(2**25) if name.endswith("data/0") else old.read(name))
    with pytest.raises(FramiError, match="says that it holds 34 MB, and has 0.03 MB"):
        read_content(path, trust=True)
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert torch.equal(read_content(path, trust=False)["weight"], weights["weight"])  # zipped again, and whole


def test_tensors_of_more_elements_than_the_file_has_bytes(tmp_path: Path, weights: dict) -> None:
    path = tmp_path / "teacher.pt"
    torch.save({"model": weights | {"weight": torch.zeros(1).expand(2**20, 2**10)}}, path)
    with pytest.raises(FramiError, match="says that it holds 4295 MB"):
        read_content(path, trust=False)


def test_a_length_in_a_pickle_is_not_allocated_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "teacher.pt"
    path.write_bytes(b"\x80\x02X\xff\xff\xff\xffweights.")  # a string of 4 GB
    with pytest.raises(FramiError, match="damaged or truncated") as raised:
        read_content(path, trust=False)
    assert not isinstance(raised.value.__cause__, MemoryError)


def test_dictionaries_that_hold_themselves_and_each_other(weights: dict) -> None:
    content: dict = {"model": weights}
    content["self"] = content
    for _ in range(60):  # 2 to the 60 ways to the weights
        content = {"a": content, "b": content}
    assert list(find_state_dicts(content).values()) == [weights]
