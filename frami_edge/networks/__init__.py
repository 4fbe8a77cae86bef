"""The networks that `frami-edge networks` lists. A new one is a new file here with a function under @register."""

import importlib
import pkgutil

from frami_edge.networks.base import Hidden, Network
from frami_edge.networks.cost import macs, parameters
from frami_edge.networks.own import build_student, check_student, student_code_sha256
from frami_edge.networks.registry import build, describe, names, register

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = [
    "Hidden", "Network", "build", "build_student", "check_student", "describe", "macs", "names", "parameters",
    "register", "student_code_sha256",
]
