"""The files of deploy/ fit their published schemas and the server."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import ValidationError

from app import Settings, create_app

from ..skill.conftest import FakeAgent

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
CLUSTER = "1.37"  # whose schemas the manifest is checked against
METRIC = re.compile(r"\bskill_\w+")


def manifests():
    return [
        found for found in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()) if found
    ]


def named(kind, name):
    (found,) = (m for m in manifests() if (m["kind"], m["metadata"]["name"]) == (kind, name))
    return found


def check_compose(path):
    """Check a compose file against the Compose Specification, as check-jsonschema carries it."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    return subprocess.run([*command, str(path)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "manifest", manifests(), ids=lambda m: f"{m['kind']} {m['metadata']['name']}"
)
def test_the_cluster_knows_every_field_of_the_manifest(manifest):
    kubernetes_validate.validate(manifest, CLUSTER, strict=True)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "replicas"), "two"),
        (("spec", "template", "spec", "containers", 0, "livenesProbe"), {}),
        (("spec", "template", "spec", "containers", 0, "resources", "limits"), ["2"]),
    ],
    ids=["a word for a number", "a misspelt probe", "limits that are a list"],
)
def test_a_planted_error_in_the_manifest_is_found(path, value):
    manifest = named("Deployment", "voice-skill")
    place = manifest
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(ValidationError):
        kubernetes_validate.validate(manifest, CLUSTER, strict=True)


def test_compose_keeps_its_specification():
    found = check_compose(DEPLOY / "compose.yaml")
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("cap_drop: [ALL]", "cap_drop: ALL"), ("read_only: true", "readonly: true")],
    ids=["a word for a list", "a misspelt key"],
)
def test_a_planted_error_in_compose_is_found(right, wrong, tmp_path):
    text = (DEPLOY / "compose.yaml").read_text()
    assert right in text
    (tmp_path / "compose.yaml").write_text(text.replace(right, wrong))
    found = check_compose(tmp_path / "compose.yaml")
    assert found.returncode == 1
    assert "Schema validation errors" in found.stdout


def test_probes_and_proxies_ask_for_what_the_server_has():
    rules = {
        str(rule) for rule in create_app(Settings(verify=False), FakeAgent()).url_map.iter_rules()
    }
    container = named("Deployment", "voice-skill")["spec"]["template"]["spec"]["containers"][0]
    asked = {
        container[f"{kind}Probe"]["httpGet"]["path"]
        for kind in ("startup", "readiness", "liveness")
    }
    paths = named("Ingress", "voice-skill")["spec"]["rules"][0]["http"]["paths"]
    public = {path["path"] for path in paths}
    proxied = set(re.findall(r"location = (\S+) {", (DEPLOY / "nginx.conf").read_text()))
    assert asked == {"/healthz", "/readyz?exclude=state"}
    assert public == proxied == {"/", "/healthz"}
    assert {path.partition("?")[0] for path in asked | public} <= rules


def test_no_container_has_privileges_or_writes_its_own_files():
    for name in ("voice-skill", "voice-skill-redis"):
        pod = named("Deployment", name)["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"].keys() == {"cpu", "memory"}
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    for service in services.values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert "memory" in service["deploy"]["resources"]["limits"]


def exported():
    """Name the series that the server exports."""
    text = create_app(Settings(verify=False), FakeAgent()).test_client().get("/metrics").text
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    return {
        f"{name}{end}"
        for name, kind in kinds.items()
        for end in (("_bucket", "_sum", "_count") if kind == "histogram" else ("",))
    }


def test_dashboard_and_alerts_ask_for_series_that_the_server_has():
    rules = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"][0]["rules"]
    panels = json.loads((DEPLOY / "dashboard.json").read_text())["panels"]
    queries = [rule["expr"] for rule in rules]
    queries += [target["expr"] for panel in panels for target in panel["targets"]]
    asked = {name for query in queries for name in METRIC.findall(query)}
    assert asked <= exported()
    assert len(asked) > 10
    described = (ROOT / "docs" / "operating.md").read_text()
    assert all(f"`{rule['alert']}`" in described for rule in rules)


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not there")
def test_prometheus_takes_the_alert_rules(tmp_path):
    def check(path):
        return subprocess.run(
            ["promtool", "check", "rules", str(path)], capture_output=True, text=True, check=False
        )

    assert check(DEPLOY / "alerts.yaml").returncode == 0
    broken = (DEPLOY / "alerts.yaml").read_text().replace("sum(rate(", "sum(rate((", 1)
    (tmp_path / "broken.yaml").write_text(broken)
    assert check(tmp_path / "broken.yaml").returncode != 0
