"""What lies under ``deploy/``: valid by the schemas, in step with evolver's commands, times and tables."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml
from sqlalchemy import text, update

from evolver.cli import main
from evolver.store import experiments
from evolver.store.db import VARIABLE, Database
from evolver.store.schema import evaluation
from tests import factories
from workers.slots import STOP_S
from workers.supervisor import RELEASE_S

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
SBATCH = DEPLOY / "slurm" / "worker.sbatch"
KUBERNETES_VERSION = "1.31"
HAND_BACK_S = STOP_S + RELEASE_S
"""What a worker may take to leave after SIGTERM; whoever stops it must wait longer."""
CRD_KINDS = {"Kustomization", "ScaledObject"}
"""Kinds whose schemas kubernetes-validate does not have."""


def require_accepted(arguments: Sequence[str]) -> None:
    """Check that evolver has this command with these options. Raises click's UsageError if not."""
    command: click.Command | None = main
    rest = list(arguments)
    while isinstance(command, click.Group):
        name, *rest = rest
        command = command.get_command(click.Context(command), name)
    assert command is not None, f"no such command: {arguments}"
    command.make_context(command.name, rest)


def tool(name: str) -> str:
    """The path of a program, from the environment of these tests or the system; skips the test without it."""
    path = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def run(*arguments: str | Path) -> str:
    """The output of a program that must succeed."""
    done = subprocess.run([*map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --- Docker ------------------------------------------------------------------------------------------


def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text()


def image(target: str) -> str:
    """The part of the Dockerfile that makes a target."""
    found = re.search(rf"^FROM \S+ AS {target}$(.*?)(?=^FROM |\Z)", dockerfile(), re.MULTILINE | re.DOTALL)
    assert found, f"no target {target}"
    return found[1]


@pytest.mark.parametrize("target", ["control", "worker"])
def test_an_image_runs_evolver_as_an_ordinary_user(target: str) -> None:
    steps = image(target)
    assert "USER 10001:10001" in steps
    assert 'ENTRYPOINT ["evolver"]' in steps
    for command in re.findall(r"^(?:CMD|HEALTHCHECK .* CMD) (\[.*\])$", steps, re.MULTILINE):
        arguments = json.loads(command)
        require_accepted(arguments[1:] if arguments[0] == "evolver" else arguments)


def test_what_the_image_copies_is_let_through_to_the_build() -> None:
    let_through = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    copied = {
        source
        for step in re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile(), re.MULTILINE)
        for source in step.split()
    }
    assert copied == let_through
    assert all((ROOT / source).exists() for source in copied)


def test_the_images_install_what_the_project_requires(tmp_path: Path) -> None:
    script = re.search(r"<<'SCRIPT'\n(.*?)^SCRIPT$", dockerfile(), re.MULTILINE | re.DOTALL)
    assert script
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    subprocess.run([sys.executable, "-c", script[1]], cwd=tmp_path, check=True, timeout=60)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (tmp_path / "control.txt").read_text().splitlines() == project["dependencies"]
    assert (tmp_path / "worker.txt").read_text().splitlines() == project["optional-dependencies"]["worker"]


# --- Compose -----------------------------------------------------------------------------------------


def with_defaults(value: str) -> str:
    """A value of the compose file, as it is when no variable is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    return found


def test_the_compose_file_is_valid() -> None:
    run(
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        DEPLOY / "compose.yaml",
    )


def test_compose_services_call_evolver_after_the_upgrade(services: dict[str, Any]) -> None:
    for name, service in services.items():
        if name == "postgres":
            continue
        require_accepted([with_defaults(argument) for argument in service["command"]])
        assert service["environment"][VARIABLE] == "postgresql://evolver@postgres/evolver"
        if name != "db-upgrade":
            assert service["depends_on"]["db-upgrade"]["condition"] == "service_completed_successfully"
    assert services["scheduler"]["deploy"]["replicas"] == 2
    assert services["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"][0]["driver"] == "nvidia"


@pytest.mark.parametrize("name", ["worker-cpu", "worker-gpu"])
def test_compose_lets_workers_hand_back(services: dict[str, Any], name: str) -> None:
    assert float(services[name]["stop_grace_period"].removesuffix("s")) > HAND_BACK_S
    assert services[name]["profiles"] == [name.removeprefix("worker-")]


def test_the_compose_file_holds_no_password_and_explains_its_variables() -> None:
    compose, example = (DEPLOY / "compose.yaml").read_text(), (DEPLOY / "env.example").read_text()
    assert set(re.findall(r"\$\{(\w+)", compose)) == set(re.findall(r"^#?(\w+)=", example, re.MULTILINE))
    assert re.search(r"^POSTGRES_PASSWORD=$", example, re.MULTILINE)


# --- Kubernetes --------------------------------------------------------------------------------------


def manifests() -> list[tuple[str, dict[str, Any]]]:
    """(file, object) of everything under ``deploy/kubernetes``."""
    return [
        (path.name, one)
        for path in sorted(KUBERNETES.glob("*.yaml"))
        for one in yaml.safe_load_all(path.read_text())
    ]


def manifest(kind: str, name: str) -> dict[str, Any]:
    (found,) = [one for _, one in manifests() if one["kind"] == kind and one["metadata"]["name"] == name]
    return found


@pytest.mark.parametrize(
    ("name", "content"),
    [pytest.param(*one, id=one[0]) for one in manifests() if one[1]["kind"] not in CRD_KINDS],
)
def test_a_manifest_is_valid(name: str, content: dict[str, Any]) -> None:
    kubernetes_validate.validate(content, KUBERNETES_VERSION, strict=True)
    assert "namespace" not in content["metadata"]


def test_the_kustomization_applies_all_but_the_example() -> None:
    resources = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]
    assert set(resources) == {name for name, _ in manifests()} - {"kustomization.yaml", "secret.example.yaml"}


def test_kubectl_renders_the_kustomization() -> None:
    rendered = list(yaml.safe_load_all(run(tool("kubectl"), "kustomize", KUBERNETES)))
    assert len(rendered) == len(manifests()) - 2
    assert "registry.example.org/evolver-worker:" in yaml.dump(rendered)


@pytest.mark.parametrize(
    "owner",
    [("Job", "evolver-db-upgrade"), ("Deployment", "evolver-scheduler"), ("Deployment", "evolver-worker")],
    ids=lambda owner: owner[1],
)
def test_a_pod_runs_evolver_without_rights(owner: tuple[str, str]) -> None:
    pod = manifest(*owner)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    require_accepted(container["args"])
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]
    secret = manifest("Secret", "evolver-database")
    (reference,) = [one["valueFrom"]["secretKeyRef"] for one in container["env"] if one["name"] == VARIABLE]
    assert reference["name"] == secret["metadata"]["name"]
    assert reference["key"] in secret["stringData"]


def test_the_worker_pod_has_a_gpu_and_time_to_hand_back() -> None:
    pod = manifest("Deployment", "evolver-worker")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > HAND_BACK_S
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    claims = {one["persistentVolumeClaim"]["claimName"] for one in pod["volumes"] if "emptyDir" not in one}
    assert claims == {
        one["metadata"]["name"] for _, one in manifests() if one["kind"] == "PersistentVolumeClaim"
    }


def scaled_object() -> dict[str, Any]:
    return manifest("ScaledObject", "evolver-worker")


def test_the_scaled_object_scales_the_workers() -> None:
    """Its structure as KEDA's documentation has it: the schema of this kind is not shipped."""
    found = scaled_object()
    assert found["apiVersion"] == "keda.sh/v1alpha1"
    worker = manifest("Deployment", found["spec"]["scaleTargetRef"]["name"])
    assert "replicas" not in worker["spec"]  # or each apply would undo what KEDA has set
    assert 0 == found["spec"]["minReplicaCount"] < found["spec"]["maxReplicaCount"]
    (trigger,) = found["spec"]["triggers"]
    assert trigger["type"] == "postgresql"
    assert set(trigger["metadata"]) == {"connectionFromEnv", "targetQueryValue", "query"}
    assert all(isinstance(value, str) for value in trigger["metadata"].values())
    assert trigger["metadata"]["connectionFromEnv"] == VARIABLE


def test_the_scaled_object_counts_what_needs_a_worker(database: Database) -> None:
    query = text(scaled_object()["spec"]["triggers"][0]["metadata"]["query"])

    def wanted() -> int:
        with database.read() as connection:
            return int(connection.execute(query).scalar_one())

    assert wanted() == 0
    factories.running(database)
    first_births = wanted()
    assert first_births > 1
    claim = factories.must_claim(database, factories.registered_worker(database))
    assert wanted() == first_births
    with database.write() as connection:
        twin = update(evaluation).where(evaluation.c.state == "pending")
        connection.execute(twin.values(waits_for=claim.lease.evaluation_id))
    assert wanted() == 1  # duplicates cannot be claimed
    factories.do(database, experiments.transition, factories.current(database), "paused")
    assert wanted() == 1  # what runs goes on
    factories.enqueued(database, number=3)
    assert wanted() == 4  # what is no search is done while that rests


# --- systemd -----------------------------------------------------------------------------------------


def unit(name: str) -> RawConfigParser:
    parser = RawConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(DEPLOY / "systemd" / name)
    return parser


UNITS = ["evolver-scheduler.service", "evolver-worker@.service"]


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_stops_in_order_and_is_not_restarted_in_vain(name: str) -> None:
    service = unit(name)["Service"]
    program, *arguments = service["ExecStart"].split()
    assert program == "/opt/evolver/bin/evolver"
    require_accepted(arguments)
    assert service["EnvironmentFile"] == "/etc/evolver/environment"
    assert service["KillSignal"] == "SIGTERM"
    assert service["Restart"] == "on-failure"
    assert service["RestartPreventExitStatus"].split() == ["2", "4"]


def test_the_worker_unit_waits_for_the_hand_back() -> None:
    service = unit("evolver-worker@.service")["Service"]
    assert service["KillMode"] == "mixed"
    assert float(service["TimeoutStopSec"]) > HAND_BACK_S


@pytest.mark.parametrize("name", UNITS)
def test_systemd_accepts_a_unit(name: str, tmp_path: Path) -> None:
    content = (DEPLOY / "systemd" / name).read_text()
    copy = tmp_path / name
    copy.write_text(content.replace("/opt/evolver/bin/evolver", "/bin/true"))  # it must be there
    run(tool("systemd-analyze"), "verify", "--man=no", copy)


# --- Slurm -------------------------------------------------------------------------------------------


def test_slurm_warns_a_task_early_enough() -> None:
    warning = re.search(r"^#SBATCH --signal=B:TERM@(\d+)$", SBATCH.read_text(), re.MULTILINE)
    assert warning
    assert float(warning[1]) > HAND_BACK_S


def test_the_slurm_script_is_clean() -> None:
    run("bash", "-n", SBATCH)
    run(tool("shellcheck"), SBATCH)


# --- the documentation -------------------------------------------------------------------------------


def documented_commands() -> list[list[str]]:
    """The arguments of each evolver command in the shell examples of ``docs/deploy.md``."""
    blocks = re.findall(r"^```bash$(.*?)^```$", (ROOT / "docs" / "deploy.md").read_text(), re.M | re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    called = [re.match(r"(?:\w+=\S+ )*evolver (.*)", line.strip()) for line in lines]
    return [shlex.split(one[1], comments=True) for one in called if one]


def test_every_documented_command_exists() -> None:
    commands = documented_commands()
    assert len(commands) > 5
    for arguments in commands:
        require_accepted(arguments)
