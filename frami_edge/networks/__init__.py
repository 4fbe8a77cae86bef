"""The networks that `frami-edge networks` lists."""

from frami_edge.networks import resnet, wrn
from frami_edge.networks.base import Hidden, Network
from frami_edge.networks.cost import macs, parameters
from frami_edge.networks.registry import build, describe, names, register

__all__ = ["Hidden", "Network", "build", "describe", "macs", "names", "parameters", "register", "resnet", "wrn"]
