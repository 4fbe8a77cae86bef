"""Exported programs become networks, operator by operator, and run nothing else of their file."""

import io
import json
import math
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import zoo_networks
from torch import Tensor, nn

from frami_edge.card import Clip, MelSpec, TeacherCard
from frami_edge.compute import choose
from frami_edge.errors import FramiError
from frami_edge.inversion.bank import Bank
from frami_edge.inversion.synthesizer import make_synthesizer
from frami_edge.networks import build
from frami_edge.recipe import load
from frami_edge.teacher.drafting import draft
from frami_edge.teacher.inputs import arrange
from frami_edge.teacher.inspecting import inspect
from frami_edge.teacher.opening import open_teacher
from frami_edge.teacher.reading import find_state_dicts, read_content
from frami_edge.teacher.taps import Teacher

DYNAMIC = torch.export.Dim.DYNAMIC
ANY = ({0: DYNAMIC, 3: DYNAMIC},)
CARD = TeacherCard(labels=("cat", "dog", "rain"), time_dependent=True, clip=Clip(seconds=1),
                   frontend=MelSpec(n_mels=8, hop_length=800))  # 21 frames


class Small(nn.Module):
    def __init__(self, head: Callable[[nn.Module, Tensor], Tensor] | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.bn, self.fc = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Linear(4, 3)
        self.head = head
        self.bn.running_mean.normal_()  # type: ignore[union-attr]
        self.bn.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        x = F.dropout(self.bn(self.conv(x)).relu_(), 0.5, self.training)
        return self.head(self, x) if self.head else self.fc(x.mean((2, 3)))


def saved(program: torch.export.ExportedProgram, folder: Path) -> Path:
    torch.export.save(program, folder / "teacher.pt2")
    (folder / "teacher.toml").write_text(CARD.to_toml())
    return folder / "teacher.pt2"


def exported(folder: Path, net: nn.Module | None = None, dynamic: Any = ANY, batch: int = 2) -> Path:
    return saved(torch.export.export((net or Small()).eval(), (torch.randn(batch, 1, 8, 21),), dynamic_shapes=dynamic),
                 folder)


def edited(path: Path, change: Callable[[str, bytes], bytes], **more: bytes) -> Path:
    """A copy of the archive with other content, checksums right."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(path.with_name("edited.pt2"), "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
        for name, content in more.items():
            new.writestr(name, content)
    return path.with_name("edited.pt2")


def edited_graph(path: Path, change: Callable[[dict], object]) -> Path:
    def rewrite(name: str, content: bytes) -> bytes:
        if not name.endswith("models/model.json"):
            return content
        parsed = json.loads(content)
        change(parsed)
        return json.dumps(parsed).encode()

    return edited(path, rewrite)


@pytest.mark.parametrize("family", ["vgg", "crnn", "attention"])  # a dictionary, a GRU, softmax and no affine
def test_families_give_the_same_states_as_the_network_itself(family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = getattr(zoo_networks, family)().eval()
    card = TeacherCard(labels=tuple("abcdefghij"), time_dependent=True, **zoo_networks.FAMILIES[family])
    x = torch.randn(3, 40, 101)
    time = {"B1FT": 3, "BFT": 2, "BTF": 1}[card.layout]
    itself = Teacher(net, card)
    program = torch.export.export(net, (arrange(x, itself.card.layout),), dynamic_shapes=({0: DYNAMIC, time: DYNAMIC},))
    path = saved(program, tmp_path)
    (tmp_path / "teacher.toml").write_text(card.to_toml())
    teacher = open_teacher(path).teacher
    for frames in (101, 64):
        x = torch.randn(2, 40, frames, requires_grad=True)
        ours, theirs = teacher.forward_hidden(x), itself.forward_hidden(x)
        assert torch.equal(ours.logits, theirs.logits) and torch.equal(ours.pooled, theirs.pooled)
        torch.testing.assert_close(ours.frames, theirs.frames)
        gradients = [torch.autograd.grad(hidden.logits.square().sum() + hidden.frames.sum(), x)[0]
                     for hidden in (ours, theirs)]
        torch.testing.assert_close(*gradients)
    assert len(teacher.batch_norms()) == len(itself.batch_norms()) and teacher.recurrent == (family == "crnn")
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_a_batch_is_synthesized_through_a_program(tmp_path: Path) -> None:
    teacher = open_teacher(exported(tmp_path)).teacher
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    small = ["batch_size=4", "steps=3", "first_steps=3", "ngf=4", "adversarial_weight=0.5", "negatives=4"]
    recipe = load("quick", [f"inversion.{value}" for value in small])
    synthesizer = make_synthesizer(teacher, recipe.inversion, choose("cpu", "float32"))
    student = build("bcresnet1", 3, 8).eval().requires_grad_(False)
    made = synthesizer.synthesize(student, Bank(tmp_path / "bank", "0", 100))
    assert all(math.isfinite(value) for value in made.losses.values()) and made.losses["bn"] > 0
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())


@pytest.mark.parametrize("form", ["decomposed", "in training mode", "as PyTorch 2.7 saved it"])
def test_other_forms_of_the_same_program(form: str, tmp_path: Path) -> None:
    net, x = Small(), torch.randn(3, 8, 30)
    if form == "in training mode":
        path = saved(torch.export.export(net.train(), (torch.randn(2, 1, 8, 21),), dynamic_shapes=ANY), tmp_path)
    elif form == "decomposed":
        program = torch.export.export(net.eval(), (torch.randn(2, 1, 8, 21),), dynamic_shapes=ANY)
        path = saved(program.run_decompositions(), tmp_path)
    else:
        path = exported(tmp_path, net)
        with zipfile.ZipFile(path) as archive:
            graph = archive.read(next(name for name in archive.namelist() if name.endswith("models/model.json")))
        state, empty = io.BytesIO(), io.BytesIO()
        torch.save(net.state_dict(), state)
        torch.save({}, empty)
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in (("serialized_exported_program.json", graph), ("version", b"8.8"),
                                  ("serialized_state_dict.pt", state.getvalue()),
                                  ("serialized_constants.pt", empty.getvalue())):
                archive.writestr(name, content)
    teacher = open_teacher(path).teacher
    torch.testing.assert_close(teacher(x), net.eval()(x.unsqueeze(1)))
    (kept,) = teacher.batch_norms().values()
    assert torch.equal(kept.running_var, net.bn.running_var)  # type: ignore[arg-type]


def test_one_length_is_kept_to(tmp_path: Path) -> None:
    """Even where the graph would run at others: what was a mean over all frames may be one over 21."""
    net = Small(lambda self, x: self.fc(F.avg_pool2d(x, x.shape[2:]).flatten(1)))
    teacher = open_teacher(exported(tmp_path, net, ({0: DYNAMIC},))).teacher
    x = torch.randn(3, 8, 26)
    assert teacher.taps.fixed_frames == 21
    torch.testing.assert_close(teacher(x), net(x[..., :21].unsqueeze(1)))
    torch.testing.assert_close(teacher(x[..., :15]), net(x[..., :15].repeat(1, 1, 2)[..., :21].unsqueeze(1)))


def test_lengths_out_of_its_range_are_repeated_or_cut(tmp_path: Path) -> None:
    net, frames = Small(), torch.export.Dim("frames", min=16, max=40)
    teacher = open_teacher(exported(tmp_path, net, ({0: DYNAMIC, 3: frames},))).teacher
    x = torch.randn(2, 8, 50)
    assert teacher.lengths == (16, 40) and teacher.taps.fixed_frames is None
    torch.testing.assert_close(teacher(x), net(x[..., :40].unsqueeze(1)))
    torch.testing.assert_close(teacher(x[..., :10]), net(x[..., :10].repeat(1, 1, 2)[..., :16].unsqueeze(1)))
    torch.testing.assert_close(teacher(x[..., :30]), net(x[..., :30].unsqueeze(1)))


def test_a_fixed_batch_is_taken_where_the_graph_does_not_use_it(tmp_path: Path) -> None:
    net, x = Small(), torch.randn(5, 8, 21)
    torch.testing.assert_close(open_teacher(exported(tmp_path, net, None, 1)).teacher(x), net(x.unsqueeze(1)))


@pytest.mark.parametrize("head", [
    lambda self, x: self.fc(x.mean((2, 3)).view(x.shape[0], 4)),  # fails with others
    lambda self, x: self.fc(x.mean((2, 3)) - x.mean((2, 3))[x.shape[0] - 1]),  # answers, by the clip at that place
])
def test_a_fixed_batch_that_the_graph_uses_is_refused(head: Callable, tmp_path: Path) -> None:
    with pytest.raises(FramiError, match="exported for batches of 2") as raised:
        open_teacher(exported(tmp_path, Small(head), ({3: DYNAMIC},)))
    assert "dynamic_shapes=({0: Dim.DYNAMIC, 3: Dim.DYNAMIC},)" in raised.value.hint


@pytest.mark.parametrize("changes,message", [
    ({"layout": "BFT"}, "exported for an input of 2 or more x 1 x 8 x 21, and the card says layout"),
    ({"frontend": MelSpec(n_mels=9, hop_length=800)}, "and the card says n_mels = 9"),
    ({"clip": Clip(seconds=2)}, "takes 21 frames, and the card's clips have 41"),
    ({"labels": ("cat", "dog")}, "its card has 2 labels"),
])
def test_a_card_of_another_program(changes: dict, message: str, tmp_path: Path) -> None:
    path = exported(tmp_path, None, ({0: DYNAMIC},))
    (tmp_path / "teacher.toml").write_text(CARD.model_copy(update=changes).to_toml())
    with pytest.raises(FramiError, match=message):
        open_teacher(path)


def test_programs_that_are_not_one_known_network(tmp_path: Path) -> None:
    path = exported(tmp_path)

    def with_fft(parsed: dict) -> None:
        parsed["graph_module"]["graph"]["nodes"][0]["target"] = "torch.ops.aten.fft_rfft.default"

    def with_version(parsed: dict) -> None:
        parsed["schema_version"]["major"] = 99

    for change, message in ((with_fft, "operators that are not known here: torch.ops.aten.fft_rfft.default"),
                            (with_version, "schema version 99")):
        with pytest.raises(FramiError, match=message):
            read_content(edited_graph(path, change), trust=False)

    class Two(nn.Module):
        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return x * mask

    torch.export.save(torch.export.export(Two(), (torch.ones(2), torch.ones(2))), path)
    with pytest.raises(FramiError, match=r"takes 2 tensors \(x, mask\)"):
        read_content(path, trust=False)


def test_many_tensors_in_the_bytes_of_one(tmp_path: Path) -> None:
    """Widened and copied, they would fill the memory."""
    path = exported(tmp_path)

    def change(name: str, content: bytes) -> bytes:
        if not name.endswith("weights_config.json"):
            return content
        parsed = json.loads(content)
        parsed["config"]["conv.weight"]["tensor_meta"] |= {
            "sizes": [{"as_int": 2**20}, {"as_int": 2**10}], "strides": [{"as_int": 0}, {"as_int": 0}]}
        return json.dumps(parsed).encode()

    with pytest.raises(FramiError, match="says that it holds 4295 MB"):
        read_content(edited(path, change), trust=False)


def test_a_mask_of_minus_infinity_is_no_damage(tmp_path: Path) -> None:
    mask = torch.tensor([0.0, 0.0, -math.inf])
    net = Small(lambda self, x: torch.softmax(x.mean((2, 3))[:, :3] + mask, 1) @ self.fc.weight[:, :3].t())
    x = torch.randn(3, 8, 21)
    torch.testing.assert_close(open_teacher(exported(tmp_path, net)).teacher(x), net(x.unsqueeze(1)))


class WithMask(nn.Module):
    def __init__(self, mask: Tensor, persistent: bool) -> None:
        super().__init__()
        self.inside = Small(lambda self, x: x.mean((2, 3)))
        self.register_buffer("mask", mask, persistent)

    def forward(self, x: Tensor) -> Tensor:
        return self.inside.fc(torch.softmax(self.inside(x) + self.mask, 1))


@pytest.mark.parametrize("persistent", [True, False])
def test_nor_is_one_that_is_a_buffer(persistent: bool, tmp_path: Path) -> None:
    path = exported(tmp_path, WithMask(torch.tensor([0.0, -math.inf, 0.0, 0.0]), persistent))
    assert open_teacher(path).teacher(torch.randn(2, 8, 21)).isfinite().all()
    assert inspect(path).card is not None
    if persistent:
        (tmp_path / "nan").mkdir()
        with pytest.raises(FramiError, match="holds NaN or infinite values in mask"):
            inspect(exported(tmp_path / "nan", WithMask(torch.tensor([0.0, math.nan, 0.0, 0.0]), True)))


def test_inspect_and_its_draft_ask_for_no_trust(tmp_path: Path) -> None:
    found = inspect(exported(tmp_path), card=tmp_path / "none.toml")
    assert found.kind == "torch.export program"
    assert 'architecture = ""' in draft(found) and "--trust" not in draft(found)


def test_its_weights_go_into_a_network_that_the_user_names(tmp_path: Path) -> None:
    net = Small()
    weights = find_state_dicts(read_content(exported(tmp_path, net), trust=False))[""]
    assert weights.keys() == net.state_dict().keys()
    assert all(torch.equal(value, weights[key]) for key, value in net.state_dict().items())


class Call:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.folder),)


def test_code_in_a_program_does_not_run(tmp_path: Path) -> None:
    """In each place where torch.export.load would run it."""
    path, witness = exported(tmp_path), tmp_path / "ran"
    python = f"__import__('pathlib').Path({str(witness)!r}).mkdir()"
    pickled = io.BytesIO()
    torch.save(Call(witness), pickled)

    def in_expressions(parsed: dict) -> None:
        for values in parsed["graph_module"]["graph"]["tensor_values"].values():
            for size in values["sizes"] + values["strides"]:
                if "as_expr" in size:
                    size["as_expr"]["expr_str"] = python

    def in_names(parsed: dict) -> None:
        nodes = parsed["graph_module"]["graph"]["nodes"]
        nodes[0]["name"] = f"x\n    {python}\n    y"
        parsed["guards_code"] = [python]

    def as_operator(parsed: dict) -> None:
        node = parsed["graph_module"]["graph"]["nodes"][0]
        node["target"] = "torch.serialization.os.mkdir"
        node["inputs"] = [{"name": "a", "arg": {"as_string": str(witness)}, "kind": 1}]

    def as_weight(name: str, content: bytes) -> bytes:
        if name.endswith("weights_config.json"):
            parsed = json.loads(content)
            parsed["config"]["conv.weight"]["use_pickle"] = True
            return json.dumps(parsed).encode()
        return pickled.getvalue() if name.endswith("weight_0") else content

    def as_input(name: str, content: bytes) -> bytes:
        return pickled.getvalue() if name.endswith("sample_inputs/model.pt") else content

    def as_constant(name: str, content: bytes) -> bytes:
        entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
        return json.dumps({"config": {"c": entry}}).encode() if name.endswith("constants_config.json") else content

    files = [lambda: edited_graph(path, in_expressions), lambda: edited_graph(path, in_names),
             lambda: edited_graph(path, as_operator), lambda: edited(path, as_weight), lambda: edited(path, as_input),
             lambda: edited(path, as_constant, **{"teacher/data/constants/opaque_obj_0": pickle.dumps(Call(witness))})]
    opened = []
    for make in files:
        try:
            open_teacher(make()).teacher(torch.zeros(2, 8, 21))
            opened.append(True)
        except FramiError:
            opened.append(False)
        assert not witness.exists()
    assert opened == [True, True, False, False, True, False]  # what is not read does no harm
