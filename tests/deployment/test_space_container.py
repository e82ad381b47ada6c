"""The container of the live page: what it installs is there, what it runs is a command that the program has."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path, PurePosixPath

import yaml

from workflows.explore import access_of
from workflows.settings.explore_settings import parse

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "space/Dockerfile").read_text()
PATTERNS = [line for line in (ROOT / "space/Dockerfile.dockerignore").read_text().splitlines() if line[:1] != "#"]
HEADING = yaml.safe_load((ROOT / "space/README.md").read_text().split("---")[1])


def is_copied(path: str) -> bool:
    """Whether a path is in the image, by the patterns' last that it or a folder of it fits, as Docker has it."""
    places = [path, *map(str, PurePosixPath(path).parents)][:-1]
    copied = True
    for pattern in PATTERNS:
        own = pattern.removeprefix("!")
        if any(
            PurePosixPath(place).match(own.removeprefix("**/")) for place in places if "**" in own or "/" not in place
        ):
            copied = pattern.startswith("!")
    return copied


def test_it_copies_what_is_installed_and_served_and_nothing_else() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {each.removesuffix("*") for each in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    files = {project["project"]["readme"], *project["project"]["license-files"], "pyproject.toml", "constraints.txt"}
    wanted = {f"{package}/__init__.py" for package in packages} | files
    assert all((ROOT / path).is_file() for path in wanted)
    served = {"saes/beta-0.001/config.json", "store/shards/a.parquet", "isoenergy/explorer/page/main.js"}
    assert {path for path in wanted | served if not is_copied(path)} == set()
    others = {
        ".venv/bin/python",
        ".git/HEAD",
        ".env",
        "runs/first/saes/a",
        "tests/store/a.py",
        "docs/isoenergy",
        "a.pem",
    }
    assert {path for path in others | {"isoenergy/__pycache__/a.pyc"} if is_copied(path)} == set()


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
