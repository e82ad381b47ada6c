"""Which code runs: its git commit, from the checkout or from what the job that brought it here says."""

import os
import subprocess
from pathlib import Path

from workflows.cluster.ray_internals import job_metadata

_FILE = Path(__file__)
DIRTY = "-dirty"
"""What a commit ends in if tracked files differ from it."""


def git_commit() -> str | None:
    """Return the commit of this program, with `-dirty` if tracked files have changed; None if it is not known.

    The code that `isoenergy submit` sends to a cluster has no repository there; the job's metadata has the commit.
    """
    return _of_checkout() or _of_job()


def _of_checkout() -> str | None:
    if _git("ls-files", "--error-unmatch", _FILE.name) is None:  # else a repository that only surrounds site-packages
        return None
    return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(*arguments: str) -> str | None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    command = ["git", "-C", str(_FILE.parent), *arguments]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, env=environment, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None


def _of_job() -> str | None:
    commit = (job_metadata() or {}).get("git_commit")
    return commit if isinstance(commit, str) and commit != "unknown" else None
