"""The files for operators: each is parsed, and what it runs, reads and watches exists."""

import configparser
import inspect
import json
import re
import shlex
from pathlib import Path
from typing import Any, get_type_hints

import jsonschema
import pytest
import yaml

from saccade.cli.main import make_app
from saccade.cli.serve import LimitOptions
from saccade.serving.monitor import Monitor

ROOT = Path(__file__).parents[2]
INSTRUCTIONS = {
    "FROM", "RUN", "COPY", "WORKDIR", "ENV", "USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD",
}  # fmt: skip


def serve_options(words: list[str]) -> dict[str, Any]:
    """The arguments of `saccade serve` as its own parser reads them; it exits where there is no such option."""
    assert Path(words[0]).name == "saccade"
    _, bound, _ = make_app().parse_args(words[1:], exit_on_error=False, print_error=False)
    assert bound.arguments["models"]
    return bound.arguments


def dockerfile() -> list[tuple[str, str]]:
    """(Instruction, the rest) of each line, continuations joined."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]


def test_the_container_serves_without_rights_and_reports_its_health() -> None:
    lines = dockerfile()
    assert {instruction for instruction, _ in lines} <= INSTRUCTIONS
    last = lines[max(i for i, (instruction, _) in enumerate(lines) if instruction == "FROM") :]
    final = dict(last)
    assert int(final["USER"]) >= 1000
    assert not any("pip" in rest for _, rest in last)
    assert re.search(
        r"--index-url https://download\.pytorch\.org/whl/cpu torch torchvision$",
        next(rest for _, rest in lines if "whl/cpu" in rest),
    )
    options = serve_options([*json.loads(final["ENTRYPOINT"]), *json.loads(final["CMD"])])
    assert options["port"] == int(final["EXPOSE"])
    check = json.loads(final["HEALTHCHECK"].partition("CMD ")[2])
    assert check[:2] == ["python", "-c"]
    compile(check[2], "HEALTHCHECK", "exec")
    assert f":{options['port']}/ready" in check[2]
    copied = {word for instruction, rest in lines if instruction == "COPY" for word in rest.split()[:-1]}
    allowed = set(re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert copied - {"--from=build", "/opt/saccade"} == allowed
    assert all((ROOT / name).exists() for name in allowed)


def test_the_inference_service_has_fields_of_kserve() -> None:
    service = yaml.safe_load((ROOT / "deploy/kserve.yaml").read_text())
    schema = json.loads((Path(__file__).parent / "inference_service.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(service, schema)
    container = service["spec"]["predictor"]["containers"][0]
    options = serve_options(["saccade", *container["args"]])
    ports = [container["ports"][0]["containerPort"]]
    ports += [container[f"{kind}Probe"]["httpGet"]["port"] for kind in ("startup", "readiness", "liveness")]
    assert set(ports) == {options["port"]}
    for path, value in (("minReplicas", "one"), ("replicas", 1)):
        wrong = json.loads(json.dumps(service))
        wrong["spec"]["predictor"][path] = value
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_the_unit_runs_the_server_and_waits_for_its_requests() -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(ROOT / "deploy/saccade.service")
    service = unit["Service"]
    assert serve_options(shlex.split(service["ExecStart"]))["process"].workers == 2
    assert int(service["TimeoutStopSec"]) > 25


def test_alerts_are_about_metrics_that_there_are() -> None:
    monitor = Monitor()
    monitor.of_model("m")
    monitor.requests.labels("/live", "200").inc()
    monitor.request_seconds.labels("/live").observe(1)
    names = set(re.findall(r"^(\w+)", monitor.text().decode(), re.MULTILINE)) | {"up"}
    rules = yaml.safe_load((ROOT / "deploy/alerts.yaml").read_text())["groups"][0]["rules"]
    for rule in rules:
        metrics = re.findall(r"\b(up|saccade_\w+|process_\w+)(?=[{\s\[)]|$)", rule["expr"])
        assert metrics, rule["alert"]
        assert set(metrics) <= names, rule["alert"]
    page = (ROOT / "docs/operations.md").read_text()
    families = {name.partition("_bucket")[0] for name in re.findall(r"`(saccade_\w+|process_\w+)`", page)}
    assert len(families) >= 8
    assert all(any(name.startswith(family) for name in names) for family in families)


def test_the_page_has_the_defaults_of_the_limits() -> None:
    page = (ROOT / "docs/operations.md").read_text()
    rows = dict(re.findall(r"^\| `--([\w-]+)` \| ([\d.]+)", page, re.MULTILINE))
    defaults = {name.replace("_", "-"): p.default for name, p in inspect.signature(LimitOptions).parameters.items()}
    assert set(get_type_hints(LimitOptions)) == {name.replace("-", "_") for name in rows}
    assert {name: float(value) for name, value in rows.items()} == defaults
