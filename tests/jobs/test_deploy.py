"""The deployment files: each is sound, closed to strangers, and names what is there."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from growres.cli.app import app
from jobs.metrics import MEASURES

DEPLOY = Path(__file__).parents[2] / "jobs" / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())
COMMENTED = [path for path in FILES if path.suffix != ".json"]
IDS = {"ids": lambda path: path.name}


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def test_every_promised_file_is_there() -> None:
    assert {str(path.relative_to(DEPLOY)) for path in FILES} == {
        "compose.yaml",
        "grafana/growres.json",
        "kuberay/rayjob.yaml",
        "ray-cluster.yaml",
        "run_or_go_on.sh",
        "slurm.sbatch",
    }


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix in (".sh", ".sbatch")], **IDS)
def test_scripts_are_bash(path: Path) -> None:
    checked = subprocess.run(["bash", "-n", path], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("path", COMMENTED, **IDS)
def test_the_head_says_what_for_how_and_what_to_change(path: Path) -> None:
    lines = path.read_text().splitlines()
    head = []
    for line in lines[lines[0].startswith("#!") :]:
        if not line.startswith("#"):
            break
        head.append(line)
    told = "\n".join(head)
    if path.suffix != ".sh":
        assert "How to use it" in told and "What to change" in told
    assert len(head) > 5 and max(len(line) for line in lines) <= 120


@pytest.mark.parametrize("path", FILES, **IDS)
def test_no_secret_stands_in_it(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"://[^/\s@:]+:[^@\s]+@", text), "a URL with a password"
    assert not re.search(r"[0-9a-f]{32}", text), "something like a token"
    given = re.findall(r"(?i)\b(\w*(?:password|secret|token)\w*)[ \t]*[:=][ \t]*(\S+)", "\n".join(uncommented(text)))
    for key, value in given:
        is_place = value.startswith(("/", "[", "{", "~/")) or value in ("token", "growres-database")
        assert is_place, f"{key} is given a value: {value}"


def uncommented(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.lstrip().startswith("#")]


@pytest.mark.parametrize("path", COMMENTED, **IDS)
def test_ray_is_started_with_its_token_alone(path: Path) -> None:
    """Whatever starts a Ray here, or leaves that to Kubernetes, says that every call has to show the token."""
    code = "\n".join(uncommented(path.read_text()))
    if re.search(r"ray start|symmetric-run|rayClusterSpec", code):
        assert re.search(r"RAY_AUTH_MODE[=:] ?token|authOptions:\s+mode: token", code)
    assert not re.search(r"\bray stop\b", code), "it would end every Ray of the machine"


def test_compose_publishes_on_loopback_alone_and_keeps_secrets_in_files() -> None:
    (compose,) = documents("compose.yaml")
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert service.get("network_mode") != "host"
        assert all(compose["secrets"][secret]["file"].startswith("secrets/") for secret in service["secrets"])
    ray = compose["services"]["ray"]
    assert "--dashboard-host=0.0.0.0" in ray["command"] and ray["environment"]["RAY_AUTH_MODE"] == "token"
    database = compose["services"]["database"]
    assert database["environment"]["POSTGRES_PASSWORD_FILE"] == "/run/secrets/database_password"


@pytest.mark.parametrize("name", ["ray-cluster.yaml", "slurm.sbatch"])
def test_a_head_on_a_real_network_keeps_its_dashboard_on_loopback(name: str) -> None:
    hosts = re.findall(r"--dashboard-host[= ](\S+)", "\n".join(uncommented((DEPLOY / name).read_text())))
    assert hosts == ["127.0.0.1"]


def test_ray_up_accepts_its_file() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    (config,) = documents("ray-cluster.yaml")
    validate_config(prepare_config(config))
    assert config["file_mounts"] == {"~/.ray/auth_token": "~/.ray/auth_token"}
    assert "chmod 600 ~/.ray/auth_token" in config["setup_commands"]
    for command in (*config["head_start_ray_commands"], *config["worker_start_ray_commands"]):
        checked = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr
        assert command.startswith("export RAY_AUTH_MODE=token ")


def test_the_ray_job_can_be_retried_and_gives_the_database_to_its_head_alone() -> None:
    volume, job = documents("kuberay/rayjob.yaml")
    spec = job["spec"]
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert spec["backoffLimit"] > 0 and "run_or_go_on.sh" in spec["entrypoint"]
    assert yaml.safe_load(spec["runtimeEnvYAML"])["env_vars"]["RAY_JOB_STOP_SIGNAL"] == "SIGINT"
    cluster = spec["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    head = cluster["headGroupSpec"]["template"]["spec"]
    (workers,) = (group["template"]["spec"] for group in cluster["workerGroupSpecs"])
    for pod in (head, workers):
        (container,) = pod["containers"]
        variables = {variable["name"]: variable for variable in container["env"]}
        assert variables["GROWRES_HOME"]["value"] in [mount["mountPath"] for mount in container["volumeMounts"]]
        claims = [one["persistentVolumeClaim"]["claimName"] for one in pod["volumes"] if "persistentVolumeClaim" in one]
        assert claims == [volume["metadata"]["name"]]
        assert ("GROWRES_DATABASE_URL" in variables) == (pod is head)
    (url,) = (one for one in head["containers"][0]["env"] if one["name"] == "GROWRES_DATABASE_URL")
    assert set(url) == {"name", "valueFrom"} and "secretKeyRef" in url["valueFrom"]


# ------------------------------------------------------------------------------------- the commands that they name


def commands_in(path: Path) -> list[list[str]]:
    """The growres commands of a file, its comments too: what stands in code or on a line of its own."""
    found = []
    for line in path.read_text().replace("\\\n", " ").splitlines():
        line = line.lstrip("# ").strip()
        for part in re.split(r"\s+#\s|;;|\s&$", line):
            start = re.match(
                r"(?:\d\) |exec )*(?:python -m )?growres (\w.*)|.*(?:exec python -m growres|: growres) (\w.*)", part
            )
            if start:
                words = shlex.split((start[1] or start[2]).split(" >")[0])
                found.append([word.rstrip(".") for word in words])
    return found


ALL_COMMANDS = [(path, words) for path in COMMENTED for words in commands_in(path)]


def test_the_commands_are_found() -> None:
    found = {(path.name, words[0]) for path, words in ALL_COMMANDS}
    assert {("run_or_go_on.sh", "status"), ("run_or_go_on.sh", "submit"), ("run_or_go_on.sh", "drive")} <= found
    assert {("compose.yaml", "submit"), ("ray-cluster.yaml", "dashboard"), ("rayjob.yaml", "status")} <= found


@pytest.mark.parametrize(("path", "words"), ALL_COMMANDS, ids=lambda value: getattr(value, "name", None))
def test_the_commands_are_growres_s_own(path: Path, words: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    context = command.make_context("growres", list(words), resilient_parsing=True)
    while isinstance(getattr(command, "commands", None), dict):
        assert words[0] in command.commands, f"{path.name} names growres {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    command.make_context(command.name, list(words), parent=context)


@pytest.mark.parametrize(
    ("known", "called"),
    [
        (0, "drive digits"),
        (2, "submit spec.yaml --set name=digits --backend local --address auto --needed"),
        (3, None),
        (4, None),
    ],
)
def test_the_entrypoint_goes_on_with_what_the_store_knows(tmp_path: Path, known: int, called: str | None) -> None:
    """Only where the store says that it knows no such experiment is one submitted: not where it is away."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ntest "$3" = status && exit {known}\nshift 2\necho "$@" > {tmp_path}/called\n')
    python.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", DEPLOY / "run_or_go_on.sh", "spec.yaml", "digits"], env=environment)
    told = tmp_path / "called"
    assert (told.read_text().strip() if told.exists() else None) == called
    assert done.returncode == (0 if called else known)


def test_growres_status_says_2_where_there_is_no_such_experiment(home: Path) -> None:
    from growres.cli.app import main

    assert main(["status", "digits"]) == 2


# ------------------------------------------------------------------------------------------------- Grafana's dashboard


def panels() -> list[dict[str, Any]]:
    dashboard = json.loads((DEPLOY / "grafana" / "growres.json").read_text())
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def test_grafana_shows_every_measure_and_none_that_is_not_there() -> None:
    queries = [target["expr"] for panel in panels() for target in panel["targets"]]
    named = {name for query in queries for name in re.findall(r"\bray_\w+", query)}
    assert named == {measure.exported_name for measure in MEASURES}
    labels = {label for query in queries for found in re.findall(r"by \((.*?)\)", query) for label in found.split(", ")}
    assert labels == {label for measure in MEASURES for label in measure.labels}


def test_grafana_tells_trials_apart_by_variant_and_seed() -> None:
    of_a_trial = {measure.exported_name for measure in MEASURES if "seed" in measure.labels}
    for panel in panels():
        for target in panel["targets"]:
            (name,) = re.findall(r"\bray_\w+", target["expr"])
            assert '{experiment="$experiment"}' in target["expr"]
            if name in of_a_trial:
                assert target["legendFormat"] == "{{variant}} seed {{seed}}"


def test_grafana_s_panels_are_in_rows_and_do_not_overlap() -> None:
    dashboard = json.loads((DEPLOY / "grafana" / "growres.json").read_text())
    assert [variable["name"] for variable in dashboard["templating"]["list"]] == ["datasource", "experiment"]
    assert dashboard["panels"][0]["type"] == "row"
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + dx, at["y"] + dy) for dx in range(at["w"]) for dy in range(at["h"])}
        assert not cells & taken and at["x"] + at["w"] <= 24
        taken |= cells
