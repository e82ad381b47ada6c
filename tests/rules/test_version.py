"""The version stands in `isoenergy.__version__`; what must repeat it does."""

import re
from pathlib import Path

import yaml

import isoenergy

ROOT = Path(__file__).parents[2]


def test_what_repeats_the_version_says_the_same():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    newest = re.search(r"^## (\S+)$", (ROOT / "docs/changelog.md").read_text(), re.MULTILINE)
    files = ("kubernetes/Dockerfile", "kubernetes/rayjob.yaml", "docs/cluster.md")
    tags = [tag for name in files for tag in re.findall(r"isoenergy:([\d.]+)-ray", (ROOT / name).read_text())]
    assert len(tags) >= len(files)
    assert newest
    assert {str(citation["version"]), newest[1], *tags} == {isoenergy.__version__}
