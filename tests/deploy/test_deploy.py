"""What lies in ``deploy/``: that it is what its tools expect, and that every option, variable, path and metric in it exists."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from stepwell.cli.app import app
from stepwell.model import Stats
from stepwell.server.metrics import Metrics
from stepwell.server.table import ROUTES
from stepwell.settings import ServerSettings, Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "stepwell"
PLAIN = sorted([*DEPLOY.glob("*.yaml"), *CHART.glob("*.yaml")])
TEXTS = sorted(path for path in DEPLOY.rglob("*") if path.is_file() and path.name != "requirements.lock")
VALUES: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "with workers": {"workers": {"modules": ["shop.orders"]}},
    "all of it": {
        "image": {"repository": "registry.example.com/stepwell", "tag": "1.2.3"},
        "imagePullSecrets": [{"name": "pull"}],
        "env": {"STEPWELL_LEASE_MS": "8000"},
        "servers": {"allowHosts": ["flows.example.com"], "behindProxy": ["10.0.0.5"], "drainSeconds": 60, "stopSeconds": 10},
        "workers": {
            "modules": ["shop.orders", "mail.py"], "drainSeconds": 120, "autoscaling": {"enabled": True},
            "image": {"repository": "registry.example.com/shop", "tag": "7"},
        },
        "networkPolicy": {"from": [{"namespaceSelector": {}}], "database": [{"ipBlock": {"cidr": "10.1.0.0/16"}}]},
        "tolerations": [{"key": "batch", "operator": "Exists"}], "nodeSelector": {"disk": "ssd"},
    },
    "bare": {
        "secrets": {"apiKey": {"name": "", "key": "k"}}, "migration": {"enabled": False}, "networkPolicy": {"enabled": False},
    },
}  # fmt: skip
_LINT = "{extends: default, rules: {line-length: {max: 130}, document-start: disable, braces: {max-spaces-inside: 1}}}"


def tool(*args: str) -> None:
    done = subprocess.run([sys.executable, "-m", *args], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def rendered(values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What Helm makes of the chart: Helm itself, as a library."""
    chart = pytest.importorskip("helm_python.chart", reason="Helm is there for Linux on x86-64 alone: not tested").Chart.load(
        str(CHART)
    )
    chart.validate_schema(values)
    for text in chart.render(values, name="shop", namespace="prod").values():
        yield from (document for document in yaml.safe_load_all(text) if document)


def pods(values: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for document in rendered(values):
        if "template" in document.get("spec", {}):
            yield document["metadata"]["name"], document["spec"]["template"]["spec"]


def compose() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))


def in_ms(text: str) -> int:
    return int(text.removesuffix("s")) * 1000


def parses(tokens: list[str]) -> None:
    """The command line takes it. Variables stand for names."""
    app.parse_args([re.sub(r"\$\{.*?\}", "name", token) for token in tokens], exit_on_error=False, print_error=False)


def test_files_are_tidy():
    tool("yamllint", "-s", "-d", _LINT, *map(str, PLAIN))


def test_the_compose_file_is_one():
    tool("check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yaml"))


@pytest.mark.parametrize("name", VALUES)
def test_the_chart_renders_to_what_kubernetes_takes(name: str):
    kinds = []
    for document in rendered(VALUES[name]):
        kinds.append(document["kind"])
        kubernetes_validate.validate(document, "1.33", strict=True)
    assert kinds.count("Deployment") == (1 if name in ("as it comes", "bare") else 2)
    assert ("Job" in kinds) == ("NetworkPolicy" in kinds) == (name != "bare")
    assert ("HorizontalPodAutoscaler" in kinds) == (name == "all of it")


_SENSELESS: list[dict[str, Any]] = [
    {"server": {}},
    {"env": {"LEASE": "1"}},
    {"servers": {"replicas": "two"}},
    {"secrets": {"url": {"name": "", "key": "k"}}},
]


@pytest.mark.parametrize("values", _SENSELESS)
def test_values_that_make_no_sense_are_refused(values: dict[str, Any]):
    with pytest.raises(Exception, match=r"(?i)propert|pattern|want|length"):
        list(rendered(values))


@pytest.mark.parametrize("name", VALUES)
def test_pods_may_do_nothing_that_they_need_not(name: str):
    for _, pod in pods(VALUES[name]):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
            }  # fmt: skip
            assert container["resources"]["requests"]
            assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("name", VALUES)
def test_secrets_are_named_and_never_there(name: str):
    secret = {"STEPWELL_URL", "STEPWELL_API_KEY", "STEPWELL_HOOK_KEY"}
    for _, pod in pods(VALUES[name]):
        for container in pod["containers"]:
            given = {each["name"]: each for each in container["env"]}
            assert {"STEPWELL_URL", "STEPWELL_HOOK_KEY"} <= set(given)
            assert all("secretKeyRef" in given[each]["valueFrom"] for each in secret & set(given))
    assert not any(document["kind"] == "Secret" for document in rendered(VALUES[name]))


@pytest.mark.parametrize("name", VALUES)
def test_a_pod_may_end_in_peace(name: str):
    for pod_name, pod in pods(VALUES[name]):
        grace_ms = pod.get("terminationGracePeriodSeconds", 0) * 1000
        (container,) = pod["containers"]
        if pod_name.endswith("-server"):
            env = {each["name"]: each.get("value") for each in container["env"]}
            sleep_ms = 1000 * int(re.findall(r"sleep\((\d+)\)", container["lifecycle"]["preStop"]["exec"]["command"][-1])[0])
            assert grace_ms > sleep_ms + int(env["STEPWELL_SERVER_DRAIN_MS"]) + int(env["STEPWELL_SERVER_STOP_MS_MAX"])
        if pod_name.endswith("-worker"):
            drain = next(each.partition("=")[2] for each in container["args"] if each.startswith("--drain-timeout="))
            assert grace_ms > in_ms(drain)


def test_containers_of_the_compose_file_may_end_in_peace():
    services, limits = compose()["services"], ServerSettings()
    for name in ("server-1", "server-2"):
        assert in_ms(services[name]["stop_grace_period"]) > limits.drain_ms + limits.stop_ms_max
    drain = next(each.partition("=")[2] for each in services["worker"]["command"] if each.startswith("--drain-timeout="))
    assert in_ms(services["worker"]["stop_grace_period"]) > in_ms(drain)


def test_the_compose_file_has_what_it_promises():
    services = compose()["services"]
    assert {"postgres", "migrate", "server-1", "server-2", "worker", "prometheus", "proxy"} == set(services)
    assert services["worker"]["deploy"]["replicas"] == 3
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name, service in services.items():
        if name != "migrate" and service["image"] == "stepwell:local":
            assert service["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
        else:
            assert service["image"] == "stepwell:local" or re.fullmatch(r"[\w/-]+:v?\d+\.\d+(\.\d+)?(-\w+)?", service["image"])
        # What listens on this machine is for this machine, but for the proxy.
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())) or name == "proxy"


def test_every_command_in_it_is_one():
    commands = [service["command"] for service in compose()["services"].values() if service["image"].startswith("stepwell")]
    commands += [container["args"] for values in VALUES.values() for _, pod in pods(values) for container in pod["containers"]]
    assert len(commands) >= 8
    for command in commands:
        parses(command)
    with pytest.raises(Exception, match="no-such-option"):
        parses(["serve", "--no-such-option=1"])


def test_the_modules_of_the_compose_file_are_there():
    for each in compose()["services"]["worker"]["command"][1:]:
        assert each.startswith("--") or (ROOT / "examples" / each).is_file()


def test_every_variable_in_it_is_read():
    known = {f"STEPWELL_{name.upper()}" for name in Settings.__struct_fields__}
    known |= {f"STEPWELL_SERVER_{name.upper()}" for name in ServerSettings.__struct_fields__}
    known |= {"STEPWELL_URL", "STEPWELL_API_KEY", "STEPWELL_HOOK_KEY"}
    of_compose = {"STEPWELL_HOST", "STEPWELL_METRICS_KEY"}
    for path in [*TEXTS, ROOT / "docs" / "deploy.md"]:
        named = set(re.findall(r"\bSTEPWELL_[A-Z_]+\b", path.read_text(encoding="utf-8")))
        assert named <= known | of_compose, path.name
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    assert all(f"${{{each}:-" in text for each in of_compose)


def test_every_metric_in_it_is_served():
    stats = Stats(runs={"paused": 1}, claimable=0, nodes=1, counters={"x": 1})
    metrics = Metrics()
    metrics.served("r", 200, 0.1)
    metrics.triggered("w")
    body = metrics.answer(stats, 0).body
    served = set(re.findall(r"^(stepwell_\w+)", bytes(body).decode(), flags=re.MULTILINE))
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    for path in [*TEXTS, ROOT / "docs" / "deploy.md"]:
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"\bstepwell_\w+", text)) <= served, path.name
        for counted in re.findall(r'what="([\w.]+)"', text):
            assert f'"{counted}"' in sources or (
                counted.startswith("store.") and f'"{counted.removeprefix("store.")}"' in sources
            )


def test_every_path_in_it_is_a_route():
    paths = {route.path for route in ROUTES}
    for path in [*DEPLOY.glob("*.yaml"), DEPLOY / "Caddyfile", *(CHART / "templates").glob("*.yaml")]:
        assert set(re.findall(r"/(?:healthz|readyz|metrics)\b", path.read_text(encoding="utf-8"))) <= paths
    for _, pod in pods(VALUES["all of it"]):
        for container in pod["containers"]:
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                if probe in container:
                    assert container[probe]["httpGet"]["path"] in paths
                    assert container[probe]["httpGet"]["port"] in {port["name"] for port in container["ports"]}


def test_prometheus_scrapes_servers_that_are_there():
    services = compose()["services"]
    scraped = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text(encoding="utf-8"))["scrape_configs"][0]
    hosts = {target.partition(":")[0] for target in scraped["static_configs"][0]["targets"]}
    assert hosts == {name for name in services if name.startswith("server-")}
    for name in hosts:  # by a name that the server knows
        assert all(f"--allow-host={host}" in services[name]["command"] for host in hosts)
    assert scraped["authorization"]["credentials_file"] in {each["target"] for each in services["prometheus"]["configs"]}
    rules = yaml.safe_load((DEPLOY / "alerts.yaml").read_text(encoding="utf-8"))["groups"][0]["rules"]
    told = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    assert all(rule["alert"] in told for rule in rules)


def test_the_image_runs_as_nobody_and_pins_what_is_in_it():
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"^USER (.*)$", text, flags=re.MULTILINE) == ["10001:10001"]
    assert all(re.search(r":\d+\.\d+\.\d+-", line) for line in re.findall(r"^FROM .*$", text, flags=re.MULTILINE))
    assert "--require-hashes" in text
    for source in re.findall(r"^COPY (?!--from)(.*) \S+$", text, flags=re.MULTILINE):
        assert all((ROOT / each).exists() for each in source.split())
    assert json.loads(text.rpartition("ENTRYPOINT ")[2].partition("\n")[0]) == ["stepwell"]


def test_the_lock_of_the_image_holds_what_its_extras_need_at_the_versions_that_are_tested():
    def pins(path: Path) -> dict[str, str]:
        return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE))

    whole, image = pins(ROOT / "requirements.lock"), pins(DEPLOY / "requirements.lock")
    assert image.items() <= whole.items()
    assert {"apsw", "asyncpg", "uvicorn", "aiohttp", "cyclopts", "msgspec", "prometheus-client"} <= set(image)
    assert "pytest" not in image
