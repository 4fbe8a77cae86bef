"""The device card."""

import json

from frami_edge.runtime import device

RASPBERRY_PI = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes fphp asimdhp asimddp
CPU part\t: 0xd0b

processor\t: 1
Features\t: fp

Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""


def test_cpuinfo_of_arm() -> None:
    entries = device.read_cpuinfo(RASPBERRY_PI)
    assert entries["Model"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert entries["Features"] == "fp asimd evtstrm aes fphp asimdhp asimddp"  # the first core's
    assert entries["processor"] == "0"


def test_the_card_of_a_raspberry_pi(monkeypatch) -> None:
    files = {"/proc/cpuinfo": RASPBERRY_PI, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand",
             "/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2400000"}
    monkeypatch.setattr(device, "_text", lambda path: files.get(str(path)))
    card = device.describe()
    assert card["cpu"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert card["instruction_sets"] == ["asimd", "fphp", "asimdhp", "asimddp"]
    assert (card["governor"], card["mhz"], card["temperature_c"]) == ("ondemand", 2400.0, None)


def test_a_system_that_tells_nothing(monkeypatch) -> None:
    monkeypatch.setattr(device, "_text", lambda path: None)
    card = device.describe()
    assert card["instruction_sets"] == []
    assert card["mhz"] is None
    assert card["governor"] is None


def test_this_device(exported) -> None:
    card = json.loads(json.dumps(device.describe(), allow_nan=False))
    assert 1 <= card["usable_cores"] <= card["cores"]
    assert card["memory_mb"] > 100
    assert card["onnxruntime"].count(".") == 2
    assert card["architecture"]


def test_the_hottest_zone(monkeypatch, tmp_path) -> None:
    for index, reading in enumerate(["41000", "55500", "broken"]):
        (tmp_path / f"thermal_zone{index}").mkdir()
        (tmp_path / f"thermal_zone{index}" / "temp").write_text(reading + "\n")
    monkeypatch.setattr(device, "THERMAL", tmp_path)
    assert device.temperature() == 55.5
