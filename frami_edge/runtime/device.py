"""The device card: what a latency was measured on. What a system does not tell is null."""

import contextlib
import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

# instruction sets that ONNX Runtime has kernels for, as /proc/cpuinfo spells them on x86 and ARM
INSTRUCTION_SETS = ("avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8",
                    "asimd", "neon", "fphp", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme")
CPUFREQ = Path("/sys/devices/system/cpu/cpu0/cpufreq")
THERMAL = Path("/sys/class/thermal")
CPU_NAME_KEYS = ("model name", "Hardware", "Model", "cpu model", "Processor")  # x86, 32-bit ARM, Raspberry Pi, MIPS


def describe() -> dict[str, Any]:
    """The card, of plain JSON values."""
    cpuinfo = read_cpuinfo(_text(Path("/proc/cpuinfo")) or "")
    features = set((cpuinfo.get("flags") or cpuinfo.get("Features") or "").split())
    return {
        "cpu": next((cpuinfo[key] for key in CPU_NAME_KEYS if key in cpuinfo), None)
        or _text(Path("/proc/device-tree/model")) or platform.processor() or None,
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "instruction_sets": [name for name in INSTRUCTION_SETS if name in features],
        "governor": _text(CPUFREQ / "scaling_governor"),
        "memory_mb": _memory(),
        **state(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def state() -> dict[str, Any]:
    """What changes while a device works: a CPU that grew hot and slow shows here."""
    return {
        "mhz": _frequency(read_cpuinfo(_text(Path("/proc/cpuinfo")) or "")),
        "temperature_c": temperature(),
        "load_1min": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def read_cpuinfo(text: str) -> dict[str, str]:
    """The entries of ``/proc/cpuinfo``; of an entry that every core has, the first core's."""
    entries: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            entries.setdefault(key.strip(), value.strip())
    return entries


def usable_cores() -> int | None:
    """Cores that this process may run on, which a container or taskset may have reduced."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def temperature() -> float | None:
    """The hottest thermal zone in degrees Celsius."""
    readings = [_text(zone) for zone in THERMAL.glob("thermal_zone*/temp")]
    degrees = [int(reading) / 1000 for reading in readings if reading and reading.lstrip("-").isdigit()]
    return max(degrees, default=None)


def _frequency(cpuinfo: dict[str, str]) -> float | None:
    kilohertz = _text(CPUFREQ / "scaling_cur_freq")
    with contextlib.suppress(KeyError, ValueError):
        return int(kilohertz) / 1000 if kilohertz else float(cpuinfo["cpu MHz"])
    return None


def _memory() -> float | None:
    """Physical memory in 10^6 bytes."""
    if sys.platform == "win32":
        return None
    with contextlib.suppress(ValueError, OSError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e6
    return None


def _text(path: Path) -> str | None:
    """The content of a small file of /proc or /sys, or None; some end in a NUL byte."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return path.read_text().strip("\0 \n") or None
    return None
