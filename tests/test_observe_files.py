"""Alert rules and the Grafana dashboard: parsed by a PromQL parser, over metrics that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from tests.app.test_metrics import documented

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
NOT_OURS = {"up"}


def yaml_of(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


def rules() -> list[dict[str, Any]]:
    groups = yaml_of("prometheus/alerts.yml")["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((DEPLOY / "grafana" / "clickfold.json").read_text())
    return read


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    for panel in panels():
        yield from (target["expr"].replace("$model", ".*") for target in panel["targets"])


def known() -> dict[str, set[str]]:
    """Labels of every series that the page's metrics have."""
    series: dict[str, set[str]] = {}
    for name, (kind, labels) in documented().items():
        labels = labels | {"instance", "job"}
        parts = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        series |= {name + part: labels | ({"le"} if part == "_bucket" else set()) for part in parts}
    return series


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_every_expression_parses_and_names_what_exists(expression: str) -> None:
    promql_parser.parse(expression)
    series = known()
    named = set(re.findall(r"\bclickfold_\w+", expression))
    assert named <= set(series)
    for name, matchers in re.findall(r"\b(clickfold_\w+)\{([^}]*)\}", expression):
        assert set(re.findall(r"(\w+)\s*=", matchers)) <= series[name], name
    for labels in re.findall(r"\bby \(([\w, ]*)\)", expression):
        used = set(labels.split(", "))
        assert any(used <= series[name] for name in named), labels


def test_the_parser_can_refuse() -> None:
    with pytest.raises(ValueError, match="unclosed"):
        promql_parser.parse("sum by (model (clickfold_auc)")


def test_alerts_say_what_to_do() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    wanted = ("NotLearning", "CalibrationOff", "LogLag", "ReplicaOut", "DurabilityWeak")
    assert {f"Clickfold{name}" for name in wanted} <= set(names)
    for rule in rules():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert set(rule["annotations"]) == {"summary", "action"}
        assert re.fullmatch(r"\d+[mh]", rule.get("for", "1m"))
        used = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        grouped = re.search(r"\bby \(([\w, ]*)\)", rule["expr"])
        if grouped:
            assert used <= set(grouped[1].split(", ")), rule["alert"]


def test_the_dashboard_uses_the_provisioned_source() -> None:
    (source,) = yaml_of("grafana/provisioning/datasources/prometheus.yml")["datasources"]
    text = json.dumps(dashboard())
    assert set(re.findall(r'"type": "prometheus", "uid": "([^"]*)"', text)) == {source["uid"]}
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(set(ids)) == len(ids)
    (provider,) = yaml_of("grafana/provisioning/dashboards/clickfold.yml")["providers"]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    inside = {one["target"]: one["source"] for one in compose["services"]["grafana"]["configs"]}
    shown = inside[f"{provider['options']['path']}/clickfold.json"]
    assert compose["configs"][shown]["file"] == "deploy/grafana/clickfold.json"
    assert source["url"] == "http://prometheus:9090"


def test_the_dashboard_shows_every_metric() -> None:
    text = " ".join(expressions())
    told = {name for name in known() if re.search(rf"\b{name}\b", text)}
    left_out = set(documented()) - {name.removesuffix("_bucket") for name in told}
    assert left_out <= {
        "clickfold_mean_label",
        "clickfold_mean_prediction",
        "clickfold_checkpoint_seq",
        "clickfold_deduplication_window_seconds",
        "clickfold_position_seq",
    }


def test_prometheus_scrapes_the_replicas_with_a_key_of_the_compose_file() -> None:
    (job,) = yaml_of("prometheus/prometheus.yml")["scrape_configs"]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    replicas = [name for name in compose["services"] if name.startswith("clickfold")]
    assert job["static_configs"][0]["targets"] == [f"{name}:8000" for name in replicas]
    (secret,) = compose["services"]["prometheus"]["secrets"]
    assert job["authorization"]["credentials_file"] == f"/run/secrets/{secret}"
    assert secret in compose["secrets"]
    assert all((ROOT / one["file"]).is_file() for one in compose["configs"].values())
    mounted = {one["target"] for one in compose["services"]["prometheus"]["configs"]}
    assert {*yaml_of("prometheus/prometheus.yml")["rule_files"]} <= mounted
    for name in ("prometheus", "grafana"):
        assert compose["services"][name]["profiles"] == ["observe"]
        assert all(port.startswith("127.0.0.1:") for port in compose["services"][name]["ports"])
