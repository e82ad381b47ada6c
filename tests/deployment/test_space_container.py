"""The container of the live page: what it installs is there, what it runs is a command that the program has."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

from workflows.explore import access_of
from workflows.settings.explore_settings import parse

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "space/Dockerfile").read_text()
HEADING = yaml.safe_load((ROOT / "space/README.md").read_text().split("---")[1])


def command() -> list[str]:
    (line,) = re.findall(r"^CMD exec isoenergy explore (.*)$", DOCKERFILE, re.MULTILINE)
    return shlex.split(line.replace("$SAES", "saes-a saes-b").replace("$STORE", "store"))


def test_it_runs_what_the_program_has_on_the_port_that_the_space_asks():
    config = parse(command())
    assert config.saes == ("saes-a", "saes-b")
    assert config.host == "0.0.0.0"
    assert config.port == HEADING["app_port"] == int(re.findall(r"EXPOSE (\d+)", DOCKERFILE)[0])
    assert HEADING["sdk"] == "docker"


def test_anybody_may_look_and_nobody_write():
    access = access_of(parse(command()))
    assert access.knows("org-name.hf.space")
    assert access.allows("")
    assert not access.may_write


def test_what_it_installs_is_enough():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (asked,) = re.findall(r"isoenergy\[([a-z,]+)\]", DOCKERFILE)
    brought = {re.split(r"[<>=\[;]", each)[0] for extra in asked.split(",") for each in extras[extra]}
    others = {re.split(r"[<>=\[;]", each)[0] for each in extras["cluster"]} - brought
    assert {"ray", "mlflow"} <= others
    code = "import sys, workflows.cli, workflows.settings.explore_settings, workflows.explore; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not {"ray", "mlflow", "s3fs", "matplotlib"} & set(done.stdout.split())
    assert "tyro" in brought
