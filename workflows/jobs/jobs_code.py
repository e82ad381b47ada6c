"""The code that a job runs: the folder that is sent to the cluster, as Ray packs it."""

from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path, PurePosixPath

from isoenergy.counts import counted
from isoenergy.errors import InputError
from isoenergy.storage.files import absolute_uri
from workflows.cluster.ray_internals import packed_files, packed_uri

_MOST_BYTES = 100 * 2**20
_SHOWN = 5
_MIB = 2**20


@dataclass(frozen=True)
class JobCode:
    """What is sent as a job's working directory."""

    folder: Path | None
    """None: nothing is sent; isoenergy is in the cluster's image."""
    sizes: dict[str, int]
    """Bytes of each file that is sent."""
    digest: str
    """Changes with the names and the contents of the files."""

    def __str__(self) -> str:
        if self.folder is None:
            return "the cluster's own"
        return f"{self.folder}: {counted(len(self.sizes), 'file')}, {sum(self.sizes.values()) / _MIB:.1f} MiB"


def job_code(code: str) -> JobCode:
    """Return what of `code` is sent: all that its .gitignore and .rayignore do not name.

    code: a folder with the package `workflows`; "auto", the checkout that this program runs from; "image", nothing.

    Raises InputError if it is no such folder, or holds more than Ray should carry: it would be refused after minutes.
    """
    if code == "image":
        return JobCode(None, {}, sha256(version("isoenergy").encode()).hexdigest())
    folder = Path(__file__).parents[2] if code == "auto" else Path(absolute_uri(code))
    if code == "auto" and not (folder / ".rayignore").is_file():
        raise InputError(
            f"isoenergy runs here from {folder}, which is no checkout to send to the cluster; give --code image if the "
            f"cluster's image has isoenergy too, or --code FOLDER of a checkout"
        )
    if not (folder / "workflows" / "__init__.py").is_file():
        raise InputError(f"--code {code} holds no package `workflows`; expected a checkout of isoenergy, or image")
    sizes = packed_files(folder)
    if sum(sizes.values()) > _MOST_BYTES:
        raise InputError(
            f"{folder} holds {sum(sizes.values()) / _MIB:,.0f} MiB to send to the cluster, and a job's code may have "
            f"{_MOST_BYTES // _MIB} MiB: {_largest(sizes)}; name what the job does not need in "
            f"{folder / '.rayignore'}, and read data from storage that the cluster sees"
        )
    return JobCode(folder, sizes, sha256(packed_uri(folder).encode()).hexdigest())


def _largest(sizes: dict[str, int]) -> str:
    """Name the largest files, or the folders of many small ones, whichever explains more."""
    files, folders = Counter(sizes), Counter[str]()
    for name, size in sizes.items():
        folders[f"{PurePosixPath(name).parent}/"] += size
    shown = files.most_common(_SHOWN)
    if sum(size for _, size in shown) < sum(sizes.values()) / 2:
        shown = folders.most_common(_SHOWN)
    return ", ".join(f"{name} {size / _MIB:,.1f} MiB" for name, size in shown)
