"""Dashboard and alert rules name what a worker tells, and each alarm has its action in the README."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it ships no types, and only this test reads YAML

from tests.unit.test_docs import table_below
from worker.observe.health import Health
from worker.observe.metrics import Metrics

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "systemd" / "monitoring"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
DASHBOARD: dict[str, Any] = json.loads((MONITORING / "grafana-dashboard.json").read_text())
QUERIES = {
    **{rule["alert"]: rule["expr"] for rule in RULES},
    **{f"{panel['title']} {t['refId']}": t["expr"] for panel in DASHBOARD["panels"] for t in panel["targets"]},
    "variable": next(v["definition"] for v in DASHBOARD["templating"]["list"] if v["type"] == "query"),
}
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


def known_metrics() -> dict[str, set[str]]:
    """What a worker tells, as it is written in a query, with its labels as far as there are samples already."""
    families = list(Metrics(Health(monotonic=float), worker_id="w").registry.collect())
    names = {
        f"{f.name}{suffix}": {k for s in f.samples for k in s.labels} for f in families for suffix in SUFFIXES[f.type]
    }
    assert len(names) > 20
    return names


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES.keys())
def test_every_metric_in_a_query_is_told_by_a_worker(query: str) -> None:
    named = set(re.findall(r"\b(?:pc_worker|process)_\w+", query))
    assert named or query.startswith("up{"), "what Prometheus itself knows about whom it asks"
    assert named <= known_metrics().keys()


def test_every_outcome_that_is_asked_for_is_counted_from_the_start() -> None:
    """increase() cannot see a counter that begins at one."""
    text = Metrics(Health(monotonic=float), worker_id="w").text().decode()
    asked = {word for query in QUERIES.values() for word in re.findall(r'outcome="(\w+)"', query)}
    assert asked == {"completed", "failed"}
    for outcome in asked:
        assert re.search(rf'pc_worker_meetings_total\{{code="\w*",outcome="{outcome}"\}} 0\.0', text)


def test_every_trouble_that_is_asked_for_is_one_that_a_worker_has() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "worker").rglob("*.py"))
    asked = {code for query in QUERIES.values() for code in re.findall(r'pc_worker_trouble\{code="(\w+)"', query)}
    assert {"breaker_open", "disk_full"} <= asked
    assert {code for code in asked if f'"{code}"' not in sources} == set()


def test_every_alarm_has_its_action_in_the_readme() -> None:
    rows = table_below("### Alarms")
    assert {rule["alert"]: rule["annotations"]["action"] for rule in RULES} == {
        alarm: action for alarm, (_, action) in rows.items()
    }


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_every_alarm_says_what_is_wrong_and_how_bad_it_is(rule: dict[str, Any]) -> None:
    assert rule["annotations"]["summary"].endswith(".")
    assert rule["labels"]["severity"] in ("warning", "critical")


def test_the_dashboard_can_be_imported_anywhere() -> None:
    """No panel is tied to the Prometheus of the one who drew it, and none lies upon another."""
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {"${datasource}"}
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    covered = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(covered) == len(set(covered))
    assert max(x for x, _ in covered) < 24
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(places)
