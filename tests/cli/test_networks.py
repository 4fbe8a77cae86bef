"""The table of networks: names, and costs that can be worked out by hand."""

import json

from typer.testing import CliRunner

from frami_edge import networks
from frami_edge.cli.main import app

runner = CliRunner()


def rows(*options: str) -> dict[str, dict]:
    result = runner.invoke(app, ["networks", "--json", *options])
    assert result.exit_code == 0
    return {row["name"]: row for row in json.loads(result.stdout)}


def test_every_network_smallest_first() -> None:
    table = rows()
    assert set(table) == set(networks.names()) >= {"wrn16", "wrn40", "res18", "res34"}
    assert list(table) == sorted(table, key=lambda name: table[name]["parameters"])


def test_the_classifier_costs_what_it_should() -> None:
    ten, twelve = rows()["wrn16"], rows("--classes", "12")["wrn16"]
    features = 2 * 64 * 40 // 4  # mean and deviation of 64 channels of 10 bands
    assert twelve["parameters"] - ten["parameters"] == 2 * (features + 1)
    assert twelve["macs"] - ten["macs"] == 2 * features


def test_known_costs() -> None:
    wrn40 = rows()["wrn40"]
    assert wrn40["parameters"] == 2_267_578  # the vendor's WRN-40-2 for the digits has as many
    assert 1.2e9 < wrn40["macs"] < 1.4e9


def test_the_table_for_people() -> None:
    printed = runner.invoke(app, ["networks"]).stdout
    assert "wrn16" in printed and "0.19 M" in printed and "105 M" in printed
    assert "9.5 k" in printed and "2.5 M" in printed  # bcresnet1
