"""Layouts of data sets, made of empty files: labels in the official order, groups that a fair split keeps apart."""

from pathlib import Path

import pytest

from frami_edge.datasets import LAYOUTS, open_dataset
from frami_edge.errors import EXIT_USAGE, FramiError

ESC50_CSV = """filename,fold,target,category,esc10,src_file,take
1-100032-A-0.wav,1,0,dog,True,100032,A
5-9032-A-0.wav,5,0,dog,True,9032,A
1-17367-A-10.wav,1,10,rain,True,17367,A
2-11111-B-2.wav,2,2,pig,False,11111,B
"""
URBANSOUND_CSV = """slice_file_name,fsID,start,end,salience,fold,classID,class
7061-6-0-0.wav,7061,0,1,1,10,6,gun_shot
100032-3-0-0.wav,100032,0.0,0.3,1,5,3,dog_bark
"""


def make(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def make_esc50(folder: Path) -> Path:
    make(folder, "audio/1-100032-A-0.wav", "audio/5-9032-A-0.wav", "audio/1-17367-A-10.wav", "audio/2-11111-B-2.wav",
         "meta/esc50.csv")
    (folder / "meta" / "esc50.csv").write_text(ESC50_CSV)
    return folder


def rows(folder: Path, layout: str = "auto") -> tuple[str, list[tuple[str, str, str]]]:
    """The layout that was found, and (file, label, group) of each clip."""
    data = open_dataset(folder, layout)
    return data.name, [(clip.path.name, data.labels[clip.label], clip.group) for clip in data.clips]


def test_esc50_in_the_order_of_its_targets(tmp_path: Path) -> None:
    data = open_dataset(make_esc50(tmp_path))
    assert (data.name, data.labels, data.groups) == ("esc50", ("dog", "pig", "rain"), ["1", "2", "5"])
    assert not data.time_dependent
    assert [(clip.path.name, clip.label, clip.group) for clip in data.clips] == [
        ("1-100032-A-0.wav", 0, "1"), ("5-9032-A-0.wav", 0, "5"), ("2-11111-B-2.wav", 1, "2"),
        ("1-17367-A-10.wav", 2, "1")]


def test_esc10_is_a_part_of_esc50(tmp_path: Path) -> None:
    assert open_dataset(make_esc50(tmp_path), "esc10").labels == ("dog", "rain")


def test_esc10_folders(tmp_path: Path) -> None:
    make(tmp_path, "010 - Fire crackling/5-186924-A.ogg", "001 - Dog bark/1-30226-A.ogg", "README.md")
    assert rows(tmp_path) == ("esc10", [("1-30226-A.ogg", "Dog bark", "1"),
                                        ("5-186924-A.ogg", "Fire crackling", "5")])


def test_urbansound8k(tmp_path: Path) -> None:
    make(tmp_path, "audio/fold5/100032-3-0-0.wav", "audio/fold10/7061-6-0-0.wav", "metadata/UrbanSound8K.csv")
    (tmp_path / "metadata" / "UrbanSound8K.csv").write_text(URBANSOUND_CSV)
    assert rows(tmp_path) == ("urbansound8k", [("100032-3-0-0.wav", "dog_bark", "5"),
                                               ("7061-6-0-0.wav", "gun_shot", "10")])


@pytest.mark.parametrize("inside", ["data/", ""])
def test_audiomnist(tmp_path: Path, inside: str) -> None:
    make(tmp_path, f"{inside}01/9_01_0.wav", f"{inside}01/0_01_49.wav", f"{inside}60/0_60_3.wav")
    assert rows(tmp_path) == ("audiomnist", [("0_01_49.wav", "0", "01"), ("0_60_3.wav", "0", "60"),
                                             ("9_01_0.wav", "9", "01")])
    assert open_dataset(tmp_path).time_dependent


@pytest.mark.parametrize("inside", ["recordings/", ""])
def test_fsdd(tmp_path: Path, inside: str) -> None:
    make(tmp_path, f"{inside}1_theo_12.wav", f"{inside}0_jackson_0.wav", f"{inside}notes.wav")
    assert rows(tmp_path) == ("fsdd", [("0_jackson_0.wav", "0", "jackson"), ("1_theo_12.wav", "1", "theo")])


def test_folders_with_and_without_groups(tmp_path: Path) -> None:
    make(tmp_path, "cat/a.WAV", "dog/alice/b.flac", "dog/bob/1/c.mp3", "dog/notes.txt", "cat/._a.wav", ".git/x.wav",
         "loose.wav")
    assert rows(tmp_path) == ("folders", [("a.WAV", "cat", ""), ("b.flac", "dog", "alice"), ("c.mp3", "dog", "bob/1")])
    assert open_dataset(tmp_path).groups == ["alice", "bob/1"]


def test_defaults_can_be_overridden(tmp_path: Path) -> None:
    make(tmp_path, "cat/a.wav", "dog/b.wav")
    data = open_dataset(tmp_path, time_dependent=False, seconds=3.5)
    assert (data.time_dependent, data.seconds) == (False, 3.5)


def test_split_keeps_groups_apart(tmp_path: Path) -> None:
    make(tmp_path, *(f"{digit}_{speaker}_{take}.wav" for digit in range(3) for speaker in ("ann", "bob", "cy")
                     for take in range(2)))
    data = open_dataset(tmp_path)
    rest, test = data.split("bob", "cy")
    assert (len(rest.clips), rest.groups) == (6, ["ann"])
    assert (len(test.clips), test.groups) == (12, ["bob", "cy"])
    assert data.split()[0] == data
    with pytest.raises(FramiError, match="no group 'bop'") as raised:
        data.split("bop")
    assert "Did you mean 'bob'" in raised.value.hint
    assert raised.value.exit_code == EXIT_USAGE


def test_labels_follow_the_card(tmp_path: Path) -> None:
    make(tmp_path, "dog_bark/a.wav", "Rain/b.wav")
    data = open_dataset(tmp_path).with_labels(("rain", "chainsaw", "Dog bark"))
    assert data.labels == ("rain", "chainsaw", "Dog bark")
    assert {clip.path.name: clip.label for clip in data.clips} == {"a.wav": 2, "b.wav": 0}


def test_a_class_that_the_card_lacks_is_an_error(tmp_path: Path) -> None:
    make(tmp_path, "dog/a.wav", "rain/b.wav")
    with pytest.raises(FramiError, match="1 of 2 classes that the model does not have, such as 'dog'") as raised:
        open_dataset(tmp_path).with_labels(("rain", "dogs"))
    assert "Did you mean 'dogs'" in raised.value.hint


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FramiError, match="There is no folder"):
        open_dataset(tmp_path / "missing")
    with pytest.raises(FramiError, match="no data set layout 'fsd'") as raised:
        open_dataset(tmp_path, "fsd")
    assert "'fsdd'" in raised.value.hint
    with pytest.raises(FramiError, match="No labelled recordings") as raised:
        open_dataset(tmp_path)
    assert all(layout in raised.value.hint for layout in LAYOUTS)
    with pytest.raises(FramiError, match="No labelled recordings"):
        open_dataset(make(tmp_path, "dog/a.wav"), "fsdd")


def test_an_incomplete_table_or_folder_is_told(tmp_path: Path) -> None:
    make_esc50(tmp_path)
    (tmp_path / "audio" / "2-11111-B-2.wav").unlink()
    with pytest.raises(FramiError, match=r"2-11111-B-2\.wav is missing"):
        open_dataset(tmp_path)
    (tmp_path / "meta" / "esc50.csv").write_text("filename,fold\n")
    with pytest.raises(FramiError, match="no column category, esc10, target"):
        open_dataset(tmp_path)


def test_the_spoken_digits(fsdd: Path) -> None:
    data = open_dataset(fsdd)
    assert (data.name, data.labels, len(data.clips)) == ("fsdd", tuple("0123456789"), 3000)
    rest, test = data.split("theo")
    assert (len(rest.clips), len(test.clips)) == (2500, 500)


def test_the_environmental_sounds(esc10: Path) -> None:
    data = open_dataset(esc10)
    assert (data.name, len(data.clips), data.groups) == ("esc10", 400, ["1", "2", "3", "4", "5"])
    assert (data.labels[0], data.labels[-1]) == ("Dog bark", "Fire crackling")
    assert len(data.split("5")[1].clips) == 80
