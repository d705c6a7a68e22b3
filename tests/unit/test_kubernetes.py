"""The manifests of deploy/kubernetes: valid by the published schemas, and in step with settings, ports and image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from api.settings import ApiSettings
from shared.settings import ServiceSettings
from trainer.settings import TrainerSettings
from worker.settings import WorkerSettings

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "deploy" / "kubernetes"
SCHEMAS = ("1.31", "1.34")
SETTINGS: dict[str, type[ServiceSettings] | type[ApiSettings]] = {
    "gateway": ApiSettings,
    "worker": WorkerSettings,
    "trainer": TrainerSettings,
}
# Variables of libraries, and of the job of the migrations.
OTHER_VARIABLES = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TOPIC_REPLICATION_FACTOR", "TOPIC_MIN_INSYNC_REPLICAS"}


def documents() -> list[dict[str, Any]]:
    names = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    return [document for name in names for document in yaml.safe_load_all((FOLDER / name).read_text())]


def named(kind: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in documents() if one["kind"] == kind}


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    for kind in ("Deployment", "Job"):
        for name, document in named(kind).items():
            yield name, document["spec"]["template"]


PODS = dict(pods())
CONFIGURED = set(named("ConfigMap")["recommender"]["data"])


def test_every_file_is_part_of_the_kustomization() -> None:
    listed = set(yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"])
    assert listed == {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}


@pytest.mark.parametrize("version", SCHEMAS)
@pytest.mark.parametrize(
    "document", documents(), ids=lambda document: f"{document['kind']}-{document['metadata']['name']}"
)
def test_a_manifest_is_valid_by_the_published_schema(document: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(document, version, strict=True)


def test_the_validation_rejects_a_field_that_the_schema_does_not_have() -> None:
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**documents()[0], "specs": {}}, SCHEMAS[0], strict=True)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_service_gets_only_variables_that_its_settings_know(name: str) -> None:
    known = {field.upper() for settings in SETTINGS.values() for field in settings.model_fields} | OTHER_VARIABLES
    own = {field.upper() for field in SETTINGS[name].model_fields} | OTHER_VARIABLES
    variables = {variable["name"] for variable in PODS[name]["spec"]["containers"][0]["env"]}
    assert variables <= own
    assert known >= CONFIGURED


@pytest.mark.parametrize("name", SETTINGS)
def test_a_service_gets_every_required_setting(name: str) -> None:
    required = {field.upper() for field, info in SETTINGS[name].model_fields.items() if info.is_required()}
    variables = {variable["name"] for variable in PODS[name]["spec"]["containers"][0]["env"]}
    assert required <= variables | CONFIGURED


@pytest.mark.parametrize(
    ("name", "port"),
    [
        ("gateway", "api_port"),
        ("gateway", "api_metrics_port"),
        ("worker", "worker_health_port"),
        ("trainer", "trainer_health_port"),
    ],
)
def test_a_port_is_the_default_of_its_setting_and_the_scraped_one_is_that_of_the_metrics(name: str, port: str) -> None:
    ports = {one["containerPort"] for one in PODS[name]["spec"]["containers"][0]["ports"]}
    assert SETTINGS[name].model_fields[port].default in ports
    if port != "api_port":
        scraped = PODS[name]["metadata"]["annotations"]["prometheus.io/port"]
        assert int(scraped) == SETTINGS[name].model_fields[port].default


@pytest.mark.parametrize("name", PODS)
def test_a_pod_has_few_rights_bounded_memory_and_time_to_stop(name: str) -> None:
    spec = PODS[name]["spec"]
    [container] = spec["containers"]
    security = container["securityContext"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == image_user()
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["allowPrivilegeEscalation"] is False
    assert "memory" in container["resources"]["limits"]
    assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
    if name in SETTINGS:
        longest = ApiSettings.model_fields["shutdown_timeout_seconds"].default
        assert spec["terminationGracePeriodSeconds"] > longest


def image_user() -> int:
    [line] = [line for line in (REPOSITORY / "Dockerfile").read_text().splitlines() if line.startswith("USER ")]
    return int(line.split()[1].partition(":")[0])


def test_selectors_name_pods_that_exist() -> None:
    for name, deployment in named("Deployment").items():
        assert deployment["spec"]["selector"]["matchLabels"].items() <= PODS[name]["metadata"]["labels"].items()
        assert named("PodDisruptionBudget")[name]["spec"]["selector"]["matchLabels"] == {"app": name}
    for name, autoscaler in named("HorizontalPodAutoscaler").items():
        assert autoscaler["spec"]["scaleTargetRef"]["name"] == name
        assert "replicas" not in named("Deployment")[name]["spec"]
    assert named("Service")["gateway"]["spec"]["selector"] == {"app": "gateway"}


def test_only_the_trainer_can_write_models() -> None:
    writers = {
        name
        for name, pod in PODS.items()
        for mount in pod["spec"]["containers"][0].get("volumeMounts", ())
        if not mount.get("readOnly")
    }
    assert writers == {"trainer"}


def test_no_secret_has_a_value_here() -> None:
    assert named("Secret") == {}
    for pod in PODS.values():
        for variable in pod["spec"]["containers"][0]["env"]:
            if variable["name"] not in OTHER_VARIABLES:
                assert set(variable) == {"name", "valueFrom"}, variable["name"]
