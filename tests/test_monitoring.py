"""The alerts and the dashboard of docs/monitoring fit each other, Prometheus, and the metrics there are."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from db.session import read_engine
from db.statements import Readers
from graph.metrics import Metrics

FOLDER = Path(__file__).parent.parent / "docs" / "monitoring"
NEEDS_PROMTOOL = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool comes with prometheus")


def promtool(*arguments: str, folder: Path = FOLDER) -> None:
    done = subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def expressions() -> list[str]:
    """Return what the dashboard's panels ask, with Grafana's variables filled in."""
    dashboard = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
    found = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    return [one.replace("$__rate_interval", "1m").replace("$instance", ".*") for one in found]


def exposed(url: str) -> str:
    """Return the text of metrics of which each has been counted at least once."""
    metrics = Metrics()
    metrics.watch_readers(Readers(read_engine(url, 1, 1)))
    metrics.watch_breakers({"redis": lambda: False})
    metrics.count_request("/data", "GET", 200)
    metrics.count_operation("A", "ok", 0.1)
    metrics.watch_cache(lambda: {("memory", "hit"): 1})
    return metrics.written("")[0].decode()


@NEEDS_PROMTOOL
@pytest.mark.parametrize(
    "arguments",
    [("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml"), ("check", "config", "prometheus.yml")],
    ids=" ".join,
)
def test_promtool_approves_of_the_files(arguments: tuple[str, ...]) -> None:
    promtool(*arguments)


@NEEDS_PROMTOOL
def test_dashboard_asks_what_prometheus_understands(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": one} for number, one in enumerate(expressions())]
    # JSON is YAML too.
    (tmp_path / "panels.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", "panels.yml", folder=tmp_path)


@NEEDS_PROMTOOL
def test_promtool_approves_of_the_metrics() -> None:
    text = exposed("postgresql://nobody@127.0.0.1:1/none")
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_alerts_and_dashboard_name_metrics_that_there_are() -> None:
    text = exposed("postgresql://nobody@127.0.0.1:1/none")
    described = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    asked = " ".join([(FOLDER / "alerts.yml").read_text(encoding="utf-8"), *expressions()])
    named = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\b(?:atlas|process)_[a-z_]+", asked)}
    assert named <= described
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(atlas_[a-z_]+)", readme)) == {name for name in described if name.startswith("atlas_")}


def test_every_alert_is_tested_and_tells_the_fix() -> None:
    text = (FOLDER / "alerts.yml").read_text(encoding="utf-8")
    alerts = re.findall(r"- alert: (\w+)", text)
    tested = set(re.findall(r"alertname: (\w+)", (FOLDER / "alerts_test.yml").read_text(encoding="utf-8")))
    assert set(alerts) == tested
    assert text.count("fix:") == text.count("summary:") == text.count("severity:") == len(alerts)
