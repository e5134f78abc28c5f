"""kubeflow/manifests: what they render to is valid, refers to what is there, and agrees with the configuration."""

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from pipeline.runners.kubeflow.config import KubeflowConfig
from tests.kubeflow.kustomize import built, has_kustomize, identity, render

MANIFESTS = Path(__file__).parents[2] / "kubeflow" / "manifests"
KUBERNETES = ("1.29", "1.37")  # of the oldest cluster that is still met, and of the newest
OVERLAYS = {  # what a person may put together; those that are not folders are written by the fixture
    "single-user": {"resources": ["../overlays/single-user"]},
    "multi-user": {"resources": ["../overlays/multi-user"]},
    "s3": {"resources": ["../overlays/s3"]},
    "everything": {
        "resources": ["../overlays/multi-user"],
        "namespace": "team-a",
        "components": ["../components/backup", "../components/restricted", "../components/s3"],
    },
    "external": {"resources": ["../base", "../external-postgres"], "namespace": "kubeflow"},
}
_MADE_ELSEWHERE = {"kfp-launcher", "mlpipeline-minio-artifact"}  # by Kubeflow Pipelines itself
_PASSWORD_KEYS = {"username", "password", "postgres-password"}
_RUN_LABEL = {"pipelines.kubeflow.org/v2_component": "true"}  # argocompiler/argo.go gives it to each pod of a run

Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """The manifests, copied, each overlay beside them."""
    copied = tmp_path_factory.mktemp("manifests") / "manifests"
    shutil.copytree(MANIFESTS, copied)
    for name, content in OVERLAYS.items():
        (copied / name).mkdir()
        kind = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
        (copied / name / "kustomization.yaml").write_text(yaml.safe_dump({**kind, **content}))
    return {name: copied / name for name in OVERLAYS}


@pytest.fixture(params=OVERLAYS)
def overlay(request) -> str:
    return request.param


@pytest.fixture
def manifests(folders, overlay) -> list[Manifest]:
    beside = (MANIFESTS / name for name in ("restore.yaml", "shell.yaml"))  # made by hand when they are needed
    return [*render(folders[overlay]), *(each for file in beside for each in yaml.safe_load_all(file.read_text()))]


def pods(manifests: list[Manifest]) -> Iterator[tuple[Manifest, Manifest]]:
    """Every object that makes pods, with the template of its pods."""
    for each in manifests:
        spec = each.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        if "template" in spec:
            yield each, spec["template"]
        elif each["kind"] == "Pod":
            yield each, each


def containers(template: Manifest) -> list[Manifest]:
    return template["spec"].get("initContainers", []) + template["spec"]["containers"]


def named(manifests: list[Manifest], kind: str) -> set[str]:
    return {name for k, name in map(identity, manifests) if k == kind}


def test_kustomize_itself_renders_the_same(folders, overlay):
    if not has_kustomize():
        pytest.skip("kubectl 1.27 or newer, which has kustomize 5 in it")
    real = {identity(each): each for each in built(folders[overlay])}
    assert {identity(each): each for each in render(folders[overlay])} == real


@pytest.mark.parametrize("version", KUBERNETES)
def test_every_object_is_valid(manifests, version):
    assert len(manifests) >= 6
    for each in manifests:
        kubernetes_validate.validate(each, version, strict=True)


def test_no_object_is_there_twice(manifests):
    names = [identity(each) for each in manifests]
    assert len(names) == len(set(names))


def test_all_is_in_one_namespace(folders, overlay):
    """Steps, PostgreSQL and the volume must be in the namespace of the runs: a pod mounts only claims of its own."""
    rendered = render(folders[overlay])
    namespaces = {each["metadata"].get("namespace") for each in rendered}
    namespaces |= {s["namespace"] for each in rendered for s in each.get("subjects", ())}
    assert len(namespaces) == 1 and None not in namespaces


def test_what_a_pod_refers_to_is_there(manifests, overlay):
    accounts, claims, scripts = (named(manifests, k) for k in ("ServiceAccount", "PersistentVolumeClaim", "ConfigMap"))
    parts = {each["metadata"]["name"]: set(each["data"]) for each in manifests if each["kind"] == "ConfigMap"}
    for each, template in pods(manifests):
        if identity(each)[1] == "" and overlay != "everything":
            continue  # the restore needs the component `backup`
        spec = template["spec"]
        assert spec.get("serviceAccountName", "lockgate") in accounts
        own = {claim["metadata"]["name"] for claim in each["spec"].get("volumeClaimTemplates", ())}
        volumes = {v["name"] for v in spec.get("volumes", ())} | own
        for volume in spec.get("volumes", ()):
            assert volume.get("persistentVolumeClaim", {}).get("claimName", "lockgate") in claims
            assert volume.get("configMap", {}).get("name", "lockgate-volume") in scripts
        for container in containers(template):
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            for variable in container.get("env", ()):
                reference = variable.get("valueFrom", {}).get("secretKeyRef")
                if reference and reference["name"] in _MADE_ELSEWHERE:
                    assert reference["optional"] is True, "a pod that waits for it never starts without"
                elif reference:
                    assert reference["name"] == "lockgate-postgres" and reference["key"] in _PASSWORD_KEYS
            (held,) = [v["configMap"]["name"] for v in spec.get("volumes", ()) if "configMap" in v] or [None]
            for script in re.findall(r"/scripts/(\S+)", " ".join(container.get("command", ()))):
                assert script in parts[held]


def test_roles_are_bound_to_accounts_that_are_there(manifests):
    for each in (each for each in manifests if each["kind"] == "RoleBinding"):
        assert each["roleRef"]["name"] in named(manifests, "Role")
        assert {subject["name"] for subject in each["subjects"]} <= named(manifests, "ServiceAccount")


def test_a_service_and_a_policy_choose_pods_that_are_there(manifests):
    labels = [template["metadata"]["labels"] for _, template in pods(manifests)] + [_RUN_LABEL]

    def chosen(equal: dict[str, str], one_of: Sequence[Manifest] = ()) -> bool:
        within = (each for each in labels if equal.items() <= each.items())
        return any(all(each.get(one["key"]) in one["values"] for one in one_of) for each in within)

    for each in manifests:
        spec = each.get("spec", {})
        if each["kind"] == "Service" and spec.get("type") != "ExternalName":
            assert chosen(spec["selector"])
        if each["kind"] == "NetworkPolicy":
            peers = [p for rule in spec.get("ingress", []) for p in rule["from"]]
            peers += [p for rule in spec.get("egress", []) for p in rule.get("to", ())]
            for selector in (spec["podSelector"], *(peer["podSelector"] for peer in peers)):
                assert chosen(selector["matchLabels"], selector.get("matchExpressions", ()))
            assert spec["policyTypes"] == ["Ingress", "Egress"], "what is not named is not allowed"


def test_only_runs_and_our_own_jobs_reach_postgresql(folders):
    everything = render(folders["everything"])
    (policy,) = [e for e in everything if identity(e) == ("NetworkPolicy", "lockgate-postgres")]
    (rule,) = policy["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 5432}]
    allowed = [peer["podSelector"]["matchLabels"] for peer in rule["from"]]
    assert allowed == [_RUN_LABEL, {"lockgate-postgres-client": "true"}]
    clients = {
        e["metadata"]["name"] for e, t in pods(everything) if allowed[1].items() <= t["metadata"]["labels"].items()
    }
    hosts = {
        e["metadata"]["name"]
        for e, t in pods(everything)
        for c in containers(t)
        if any(v["name"] == "PGHOST" for v in c.get("env", ()))
    }
    assert clients == hosts == {"lockgate-databases", "lockgate-backup"}


def test_every_container_says_what_it_needs_and_may_do(manifests):
    seen = 0
    for each, template in pods(manifests):
        spec = template["spec"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert template["metadata"]["labels"]["sidecar.istio.io/inject"] == "false", "a job with a sidecar may not end"
        assert template["metadata"]["labels"]["istio.io/dataplane-mode"] == "none", "the policy lets 5432 in, not 15008"
        for container in containers(template):
            seen += 1
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), container["name"]
            assert "memory" in container["resources"]["limits"], container["name"]
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False and context["capabilities"]["drop"] == ["ALL"]
            assert context["readOnlyRootFilesystem"] is True
            user = context.get("runAsUser", spec["securityContext"].get("runAsUser"))
            not_root = context.get("runAsNonRoot", spec["securityContext"].get("runAsNonRoot"))
            assert (identity(each), container["name"], user) == (("Job", "lockgate-volume"), "give", 0) or (
                user and not_root
            )
    assert seen >= 2


def test_with_the_component_restricted_nothing_runs_as_root(folders):
    everything = list(pods(render(folders["everything"])))
    assert all(c["securityContext"].get("runAsUser") != 0 for _, t in everything for c in containers(t))
    assert any(c["name"] == "check" for _, t in everything for c in containers(t))


def test_an_image_is_named_by_its_version(manifests):
    images = {c["image"] for _, t in pods(manifests) for c in containers(t)}
    assert images and all(re.fullmatch(r"[a-z]+:\d+(\.\d+)+(-[a-z0-9.]+)?", image) for image in images), images


def test_no_secret_is_in_the_project(manifests):
    assert "Secret" not in {each["kind"] for each in manifests}
    assert not list(MANIFESTS.rglob("*.env"))
    literal = [
        v
        for _, t in pods(manifests)
        for c in containers(t)
        for v in c.get("env", ())
        if "PASSWORD" in v["name"] and "value" in v
    ]
    assert literal == []


def test_the_labels_are_those_that_kubernetes_recommends(manifests):
    for each in manifests:
        labels = each["metadata"]["labels"]
        assert labels["app.kubernetes.io/part-of"] == "lockgate" and labels["app.kubernetes.io/name"].startswith(
            "lockgate-"
        )


def test_steps_may_ask_for_runs_and_nothing_that_makes_pods(folders, overlay):
    (role,) = [e for e in render(folders[overlay]) if identity(e) == ("Role", "lockgate")]
    may = {(r, v) for rule in role["rules"] for r in rule["resources"] for v in rule["verbs"]}
    assert {("workflows", "get"), ("workflows", "list"), ("pods", "get"), ("pods", "list")} <= may
    assert {("workflowtaskresults", "create"), ("workflowtaskresults", "patch")} <= may
    assert {verb for _, verb in may} <= {"get", "list", "create", "patch"}
    assert {r for r, verb in may if verb in ("create", "patch")} == {"workflowtaskresults"}
    unnamed = {r for rule in role["rules"] if not rule.get("resourceNames") for r in rule["resources"]}
    assert unnamed == {"workflows", "pods", "workflowtaskresults"}
    assert {n for rule in role["rules"] for n in rule.get("resourceNames", ())} == _MADE_ELSEWHERE


def test_the_password_job_can_make_secrets_and_neither_read_nor_change_them(folders):
    (role,) = [e for e in render(folders["single-user"]) if identity(e) == ("Role", "lockgate-password")]
    assert role["rules"] == [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}]


@pytest.mark.parametrize(("name", "gibibytes"), [("single-user", 50), ("s3", 5)])
def test_the_volume_is_shared_by_all_steps_and_small_where_artifacts_are_in_a_bucket(folders, name, gibibytes):
    claim = {identity(e): e for e in render(folders[name])}["PersistentVolumeClaim", KubeflowConfig().claim]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert claim["spec"]["resources"]["requests"]["storage"] == f"{gibibytes}Gi"


def test_the_configuration_looks_for_metadata_where_the_manifests_put_it(folders, overlay):
    cluster, manifests = KubeflowConfig(), render(folders[overlay])
    assert cluster.metadata == "postgresql://lockgate-postgres:5432/mlmd"
    assert cluster.metadata_secret == "lockgate-postgres"
    assert "lockgate-postgres" in named(manifests, "Service")


def test_the_service_is_on_the_port_of_the_defaults(folders):
    (service,) = [e for e in render(folders["single-user"]) if e["kind"] == "Service"]
    assert [port["port"] for port in service["spec"]["ports"]] == [5432]
    (server,) = [t for e, t in pods(render(folders["single-user"])) if e["kind"] == "StatefulSet"]
    (postgres,) = server["spec"]["containers"]
    assert {p["name"]: p["containerPort"] for p in postgres["ports"]} == {
        service["spec"]["ports"][0]["targetPort"]: 5432
    }
    assert "--auth-host=scram-sha-256" in json.dumps(postgres["env"])
