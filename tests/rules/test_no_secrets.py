"""The repository holds no key, token or password: not in code, not in tests, not in documents."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECRETS = {
    "AWS key": r"\b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16}\b",
    "AWS secret": r"(?i)aws.{0,20}secret.{0,20}[=:]\W{0,3}[A-Za-z0-9/+]{40}\b",
    "Hugging Face token": r"\bhf_[A-Za-z0-9]{20,}",
    "GitHub token": r"\b(?:gh[pousr]_|github_pat_)[A-Za-z0-9_]{20,}",
    "GitLab token": r"\bglpat-[\w-]{20,}",
    "PyPI token": r"\bpypi-[\w-]{40,}",
    "Slack token": r"\bxox[abprs]-[\w-]{10,}",
    "Google key": r"\bAIza[\w-]{35}",
    "API key": r"\bsk-[\w-]{32,}",
    "JSON Web Token": r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.",
    "private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "password in a URL": r"://[^\s/:@'\"`$<>{}]+:[^\s/@'\"`$<>{}]+@",
    "bearer token": r"(?i)authorization\W{1,4}(?:bearer|basic) [A-Za-z0-9+/=._-]{16,}",
}
MADE_UP = {"key:secret", "me:secret", "u:p", "user:pass", "user:password", "user:pw", "user:secret"}
"""Users and passwords of tests."""


def secrets(text: str) -> list[str]:
    """The kinds of what looks like a secret, and where it begins."""
    return [
        f"{kind}: {found[0][:12]}…"
        for kind, pattern in SECRETS.items()
        for found in re.finditer(pattern, text)
        if found[0].removeprefix("://").removesuffix("@") not in MADE_UP
    ]


def test_no_file_of_the_repository_holds_one() -> None:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    files = [ROOT / name.decode() for name in listed.split(b"\0") if name]
    assert {ROOT / "README.md", ROOT / "cluster.yaml", Path(__file__)} <= {*files}
    texts = {file: file.read_bytes().decode(errors="ignore") for file in files if file.is_file()}
    assert {str(file): found for file, text in texts.items() if (found := secrets(text))} == {}


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("AWS key", "id = " + "AKIA" + "Q" * 16),
        ("AWS secret", "AWS_SECRET_ACCESS_KEY: '" + "s/+9" * 10 + "'"),
        ("Hugging Face token", "hf" + "_" + "a" * 34),
        ("GitHub token", "gh" + "p_" + "a1" * 18),
        ("GitHub token", "github" + "_pat_" + "a1" * 18),
        ("GitLab token", "glpat" + "-" + "a1" * 10),
        ("PyPI token", "pypi" + "-" + "Ag" * 40),
        ("Slack token", "xoxb" + "-1234567890-abc"),
        ("Google key", "AIza" + "b" * 35),
        ("API key", "sk" + "-" + "proj-" + "c" * 40),
        ("JSON Web Token", "eyJ" + "h" * 20 + ".eyJ" + "p" * 20 + ".sig"),
        ("private key", "-----BEGIN " + "RSA PRIVATE KEY-----"),
        ("password in a URL", "postgresql:" + "//mlflow:hunter2@db.example/mlflow"),
        ("bearer token", "Authorization: " + "Bearer " + "0123456789abcdef" * 2),
    ],
)
def test_one_of_each_kind_is_found(kind: str, text: str) -> None:
    assert [found.split(":")[0] for found in secrets(text)] == [kind]


def test_what_a_document_says_about_secrets_is_none() -> None:
    for text in (
        "export AWS_SECRET_ACCESS_KEY=$(pass show aws)",
        "http://$user:$password@host",
        "https://user:<password>@host",
        "ssh -L 5000:localhost:5000 ubuntu@head",
        "http://user:pass@127.0.0.1/",
        "headers={'Authorization': f'Bearer {TOKEN}'}",
    ):
        assert secrets(text) == []
