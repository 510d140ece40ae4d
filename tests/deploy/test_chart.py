"""The chart: what Kubernetes' own schemas say of it, and what they do not know."""

from __future__ import annotations

import copy
import re
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest

from gateway.cli.verbs import app
from gateway.config import load
from tests.support.deploying import (
    CHART,
    DOCKER,
    ROOT,
    VALUES,
    configuration,
    container,
    objects,
    of_kind,
    pods,
    rendered,
    secrets_for,
    services,
    values,
    variables,
)

VERSIONS = ("1.27", kubernetes_validate.latest_version())
"""The first that the chart is for, and the last whose schemas are here."""
every = pytest.mark.parametrize("name", VALUES)


def validate(found: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(found, version, strict=True)


@every
def test_helm_finds_nothing_to_say(name: str) -> None:
    report = helm.lint(CHART, values(name), strict=True)
    assert report["errors"] == []
    assert {each["error"] for each in report["messages"]} <= {"icon is recommended"}


@every
@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_one_of_kubernetes(name: str, version: str) -> None:
    for found in objects(name):
        validate(found, version)


def test_the_schemas_would_say_what_is_wrong() -> None:
    gateway = copy.deepcopy(of_kind(objects("defaults"), "Deployment")["gateway"])
    gateway["spec"]["template"]["spec"]["terminationGracePeriodSecond"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(gateway, VERSIONS[0])


PAYMENTS = """
[upstreams]
legacy = "http://shop"
psp = "http://psp"
[[routes]]
name = "payments"
match = "/payments/*"
split = { psp = 1 }
sticky = "idempotency-key"
"""


@pytest.mark.parametrize(
    "given",
    [
        {"gatway": {}},
        {"gateway": {"workers": 0}},
        {"gateway": {"drainSecond": 5}},
        {"gateway": {"replicas": "two"}},
        {"shadow": {"nats": []}},
        {"config": '[upstreams]\nlegacy = "http://shop"\n[gateway]\nworkers = 2'},
        {"config": '[upstreams]\nlegacy = "http://shop"\n[shadow.jetstream]\nreplicas = 1'},
        {"config": PAYMENTS},
        {"config": PAYMENTS, "shadow": {"replicas": 0}},
        {"config": PAYMENTS + '[ledger]\ndatabase = "sqlite:///var/l.sqlite3"'},
        {"config": PAYMENTS + '[ledger]\n# database = "postgres://a/b"\n[x]\ndatabase = "postgres://a/b"'},
        {"database": "sqlite:///var/x.sqlite3"},
        {"console": {"proxies": 11}},
        {"networkPolicy": {"egress": "all"}},
        {"gateway": {"autoscaling": {"enabled": True}, "exporter": {"enabled": False}}},
    ],
    ids=str,
)
def test_values_that_cannot_be_meant_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(helm.HelmError):
        rendered(given)


@pytest.mark.parametrize("database", ["postgres://a/b", "postgresql://a:${DB_PASSWORD}@b/c", "${LEDGER}"])
def test_payments_are_taken_with_a_ledger_that_all_pods_share(database: str) -> None:
    ledger = f'[ledger] # of all\n# [one]\n\ntimeout = "1s"\n  database = "{database}"\n'
    assert database in configuration(rendered({"config": ledger + PAYMENTS}))
    assert database in configuration(rendered({"config": PAYMENTS + ledger}))
    without = PAYMENTS.replace("sticky", "# sticky")
    assert without.strip() in configuration(rendered({"config": without}))


def test_every_value_is_in_the_schema_and_the_other_way_round() -> None:
    def keys(tree: dict[str, Any], schema: dict[str, Any], where: str = "") -> None:
        known = schema.get("properties")
        if known is None:
            return
        assert schema["additionalProperties"] is False, where
        assert set(known) - {"global"} == set(tree), where
        for key, value in tree.items():
            if isinstance(value, dict):
                keys(value, known[key], f"{where}.{key}")

    chart = helm.Chart.load(CHART)
    assert chart.schema is not None
    keys(chart.values, chart.schema)


def test_the_chart_is_for_the_versions_that_it_is_tested_with() -> None:
    assert helm.Chart.load(CHART).metadata["kubeVersion"] == f">={VERSIONS[0]}.0-0"


@every
def test_pods_may_do_nothing_in_particular(name: str) -> None:
    found = pods(objects(name))
    assert "gateway" in found
    for pod in found.values():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False  # else a Service named banyan-console sets BANYAN_CONSOLE_PORT
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(spec)
        assert not [each for each in spec["volumes"] if "hostPath" in each]
        for each in spec["containers"]:
            context = each["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in each["resources"]["limits"]
            assert {"cpu", "memory"} <= set(each["resources"]["requests"])


def test_pods_are_the_user_that_the_image_makes() -> None:
    user = re.search(r"(?m)^USER (\d+):(\d+)$", (DOCKER / "Dockerfile").read_text())
    assert user
    for pod in pods(objects("defaults")).values():
        context = pod["spec"]["securityContext"]
        assert (context["runAsUser"], context["runAsGroup"]) == (int(user[1]), int(user[2]))


@every
def test_secrets_are_files_and_stand_in_no_description(name: str) -> None:
    found = objects(name)
    assert not of_kind(found, "Secret")
    needed = variables(configuration(found))
    assert needed
    for component, pod in pods(found).items():
        own = container(pod, component)
        assert "envFrom" not in own
        for each in own.get("env", []):
            assert set(each) == {"name", "value"}
            assert each["name"] not in needed
            assert not re.search("KEY|PASSWORD|TOKEN|SECRET", each["name"])
        mounts = {each["name"]: each for each in own["volumeMounts"]}
        # Where the image's `banyan` looks for them.
        assert f"BANYAN_SECRETS:-{mounts['secrets']['mountPath']}}}" in (DOCKER / "banyan").read_text()
        volume = next(each for each in pod["spec"]["volumes"] if each["name"] == "secrets")
        assert volume["projected"]["defaultMode"] == 0o440
        assert all(set(source) == {"secret"} for source in volume["projected"]["sources"])


def test_the_consoles_secrets_are_the_consoles_alone() -> None:
    for component, pod in pods(objects("everything")).items():
        volume = next(each for each in pod["spec"]["volumes"] if each["name"] == "secrets")
        names = [source["secret"]["name"] for source in volume["projected"]["sources"]]
        assert names == (["edge-secrets", "edge-console"] if component == "console" else ["edge-secrets"])


@every
def test_what_the_image_writes_to_can_be_written_to(name: str) -> None:
    dockerfile = (DOCKER / "Dockerfile").read_text()
    for component, pod in pods(objects(name)).items():
        own = container(pod, component)
        paths = {each["mountPath"]: each.get("readOnly", False) for each in own["volumeMounts"]}
        assert paths == {"/etc/banyan": True, "/run/secrets/banyan": True, "/srv/banyan/var": False, "/tmp": False}  # noqa: S108 - a pod's
        assert "ln -s /etc/banyan/banyan.toml /srv/banyan/banyan.toml" in dockerfile
        assert "WORKDIR /srv/banyan\n" in dockerfile


def test_health_is_asked_as_compose_asks_it() -> None:
    """Those of Compose are asked of real processes (test_compose_runs.py)."""
    for component in ("console", "shadow"):
        own = container(pods(objects("defaults"))[component], component)
        *_, path, address = services()[component]["healthcheck"]["test"]
        asked = [probe["httpGet"] for name, probe in own.items() if name.endswith("Probe")]
        assert {each["path"] for each in asked} == {path}
        ports = {each["name"]: each["containerPort"] for each in own["ports"]}
        assert {ports[each["port"]] for each in asked} == {int(address.rpartition(":")[2])}


@every
def test_each_component_is_a_command_of_banyan(name: str) -> None:
    for component, pod in pods(objects(name)).items():
        arguments = container(pod, component)["args"]
        assert "command" not in container(pod, component)  # the image's entrypoint stays
        app.parse_args(arguments, exit_on_error=False, print_error=False)


@every
def test_the_configuration_is_one(name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    text = configuration(objects(name))
    for variable, value in secrets_for(text).items():
        monkeypatch.setenv(variable, value)
    path = tmp_path / "banyan.toml"
    path.write_text(text)
    config = load(path)
    gateway = pods(objects(name))["gateway"]["spec"]
    drain = config.gateway.limits.drain_timeout
    grace = gateway["terminationGracePeriodSeconds"]
    left = float(container({"spec": gateway}, "gateway")["lifecycle"]["preStop"]["exec"]["command"][-1].rpartition(" ")[2])
    # The hook's time counts against the grace, and SIGTERM comes after it. A shipper that cannot hand on what it has takes 6 s more.
    assert grace >= left + drain + 10
    assert config.gateway.workers == values(name).get("gateway", {}).get("workers", 2)
    assert config.shadow.sink == ("jetstream" if "shadow" in pods(objects(name)) else "local")
    ports = {each["name"]: each["containerPort"] for each in container({"spec": gateway}, "gateway")["ports"]}
    assert config.gateway.listen == [f"0.0.0.0:{ports['http']}"]
    # The default of banyan-ask, by which the probes go.
    assert f'"{config.gateway.admin}"' in (DOCKER / "ask.py").read_text()


def test_what_a_gateway_reads_at_its_start_alone_replaces_its_pods_and_nothing_else_does() -> None:
    def annotations(**given: Any) -> dict[str, Any]:
        return {name: pod["metadata"]["annotations"] for name, pod in pods(rendered(given)).items()}

    before = annotations()
    routes = annotations(config='[upstreams]\nlegacy = "http://other:8000"\n')
    assert routes["gateway"] == before["gateway"]
    assert routes["shadow"] != before["shadow"]
    assert routes["console"] != before["console"]
    assert annotations(gateway={"workers": 3})["gateway"] != before["gateway"]
    assert annotations(shadow={"settings": 'retention = "30d"'})["gateway"] != before["gateway"]


@every
def test_selectors_meet_the_pods_that_they_mean(name: str) -> None:
    found = objects(name)
    labels = {component: pod["metadata"]["labels"] for component, pod in pods(found).items()}

    def met(selector: dict[str, str]) -> set[str]:
        return {component for component, own in labels.items() if selector.items() <= own.items()}

    for component, each in of_kind(found, "Deployment").items():
        assert met(each["spec"]["selector"]["matchLabels"]) == {component}
        for spread in each["spec"]["template"]["spec"].get("topologySpreadConstraints", []):
            assert met(spread["labelSelector"]["matchLabels"]) == {component}
    for component, each in of_kind(found, "Service").items():
        assert met(each["spec"]["selector"]) == {component}
        open_ports = {port["name"] for port in container(pods(found)[component], component)["ports"]}
        assert {port["targetPort"] for port in each["spec"]["ports"]} <= open_ports
    for component, each in of_kind(found, "PodDisruptionBudget").items():
        assert met(each["spec"]["selector"]["matchLabels"]) == {component}
    for component, each in of_kind(found, "NetworkPolicy").items():
        assert met(each["spec"]["podSelector"]["matchLabels"]) == {component}
    assert "gateway" in of_kind(found, "PodDisruptionBudget")


def test_pods_are_spread_over_zones_and_nodes() -> None:
    for component in ("gateway", "shadow"):
        spread = pods(objects("defaults"))[component]["spec"]["topologySpreadConstraints"]
        assert [each["topologyKey"] for each in spread] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]


def test_the_autoscaler_goes_by_a_metric_that_there_is() -> None:
    found = objects("everything")
    scaler = of_kind(found, "HorizontalPodAutoscaler")["gateway"]["spec"]
    named = scaler["metrics"][0]["pods"]["metric"]["name"]
    assert f"\n| `{named}` |" in (ROOT / "docs" / "reference" / "metrics.md").read_text()
    deployment = of_kind(found, "Deployment")["gateway"]
    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment["metadata"]["name"]}
    assert "replicas" not in deployment["spec"]  # each helm upgrade would take back what the autoscaler did
    assert not of_kind(objects("defaults"), "HorizontalPodAutoscaler")
    assert of_kind(objects("defaults"), "Deployment")["gateway"]["spec"]["replicas"] == 2


def test_policies_open_what_is_meant_and_nothing_else() -> None:
    closed = of_kind(objects("defaults"), "NetworkPolicy")
    assert set(closed) == {"gateway", "shadow", "console"}
    assert closed["gateway"]["spec"]["ingress"] == [{"ports": [{"port": "http"}]}]  # and not its metrics
    assert closed["shadow"]["spec"]["ingress"] == []
    assert closed["console"]["spec"]["ingress"] == []
    assert all(each["spec"]["policyTypes"] == ["Ingress"] for each in closed.values())
    opened = of_kind(objects("everything"), "NetworkPolicy")
    given = values("everything")["networkPolicy"]
    assert opened["gateway"]["spec"]["ingress"] == [
        {"ports": [{"port": "http"}], "from": given["clients"]},
        {"ports": [{"port": "metrics"}], "from": given["monitoring"]},
    ]
    for each in opened.values():
        assert each["spec"]["policyTypes"] == ["Ingress", "Egress"]
        assert {port["port"] for port in each["spec"]["egress"][0]["ports"]} == {53}
        assert each["spec"]["egress"][1:] == given["egress"]
    # A policy names ports of containers: each is there.
    for component, pod in pods(objects("everything")).items():
        names = {port["name"] for each in pod["spec"]["containers"] for port in each["ports"]}
        assert {port["port"] for rule in opened[component]["spec"]["ingress"] for port in rule["ports"]} <= names


def test_the_guides_example_for_istio_names_the_charts_service() -> None:
    guide = (ROOT / "docs" / "guide" / "deploy.md").read_text()
    found = re.search(r"host: ([\w-]+)\.(\w+)\.svc\.cluster\.local, port: { number: (\d+) }", guide)
    release = re.search(r"helm upgrade --install (\w+) deploy/helm/banyan -n (\w+)", guide)
    assert found
    assert release
    service = next(each for each in rendered({}, release[1]) if each["kind"] == "Service" and each["metadata"]["name"].endswith("gateway"))
    assert (found[1], found[2], int(found[3])) == (service["metadata"]["name"], release[2], service["spec"]["ports"][0]["port"])
