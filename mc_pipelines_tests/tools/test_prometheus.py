"""promtool reads what we really serve, checks the alert rules and runs their unit tests."""

import importlib
import pkgutil

import pytest
import yaml

import mc_pipelines
from mc_pipelines.foundation import metrics
from mc_pipelines_tests.conftest import TestDatabase
from mc_pipelines_tests.tools.conftest import REPOSITORY, Tool

pytestmark = pytest.mark.tools
PROMETHEUS = REPOSITORY / "deploy" / "prometheus"
MILLISECONDS = {"mc_graph_query_ms", "mc_queue_ms", "mc_start_ms"}
"""Latencies that the plan states in milliseconds and names so; promtool would have them in seconds."""


@pytest.mark.database
def test_promtool_finds_nothing_in_our_metrics(tool: Tool, database: TestDatabase) -> None:
    for found in pkgutil.walk_packages(mc_pipelines.__path__, "mc_pipelines."):
        if found.name.rsplit(".", 1)[-1] in {"metrics", "business_metrics", "latency", "exchange"}:
            importlib.import_module(found.name)
    content = metrics.render(database.app)
    assert b"mc_policy_evaluation_seconds" in content
    assert b" 0.0\n" not in b"".join(
        line + b"\n" for line in content.splitlines() if line.startswith(b"mc_metrics_source_up")
    )
    done = tool("promtool", "check", "metrics", given=content)
    assert done.stdout == ""
    remarks = dict(line.split(" ", 1) for line in done.stderr.splitlines())
    unexpected = {
        name: remark
        for name, remark in remarks.items()
        if not (name.removesuffix("_created") in MILLISECONDS and remark.endswith("abbreviated units"))
    }
    assert unexpected == {}


def test_the_alert_rules_are_sound(tool: Tool) -> None:
    done = tool("promtool", "check", "rules", PROMETHEUS / "rules.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_fires_and_stays_silent_when_it_should(tool: Tool) -> None:
    rules = yaml.safe_load((PROMETHEUS / "rules.yaml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    cases = yaml.safe_load((PROMETHEUS / "rules.test.yaml").read_text())["tests"]
    told = [(case["alertname"], bool(case.get("exp_alerts"))) for one in cases for case in one["alert_rule_test"]]
    assert {name for name, fires in told if fires} == alerts
    assert {name for name, fires in told if not fires} == alerts
    done = tool("promtool", "test", "rules", PROMETHEUS / "rules.test.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
