"""What is used of Ray that its makers keep to themselves, and may move: read in Ray 2.60, and nowhere else touched.

`pyproject.toml` holds Ray to 2.60. Whoever raises it reads here what each function relies on, and what to do without.
Ray is imported where it is used: some of this is asked for before there is any.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

HEAD = "node:__internal_head__"
"""The resource that a cluster's head has and no other node; `ray.nodes()` shows it."""
_JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"
_UPLOADS = (
    "ray._private.runtime_env.packaging",
    "ray._private.runtime_env.working_dir",
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
)

Growth = list[tuple[dict[str, float], int]]
"""Resources of a node of each kind, and how many there may be; below 0: any number."""


@contextmanager
def on_the_loopback() -> Iterator[None]:
    """Let the Ray that is started or joined in the body listen on the loopback alone, as it does on macOS and Windows.

    There is no other way: `_node_ip_address="127.0.0.1"` is taken to mean the machine's address in its network. A
    process that joins such a Ray must do so in the body too, or it waits for ever.
    Ray reads the variable once, as `ray._private.ray_constants` is imported. Where that moves: set the variable before
    `import ray`, which then must not have happened.
    """
    from ray._private import ray_constants

    name, before = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, ray_constants.ENABLE_RAY_CLUSTER
    given = os.environ.get(name)
    os.environ[name] = "0"  # for the processes that it starts
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
        if given is None:
            del os.environ[name]
        else:
            os.environ[name] = given


def growth() -> Growth:
    """Return what the cluster was told that it may grow to: by KubeRay's autoscaler, or by `tell_growth`.

    Empty if it was told nothing. Ray Train and Ray Data ask for it in the same way; where
    `ray._private.state.state` moves, look for what they do.
    """
    from ray._private.state import state

    config = state.get_cluster_config()
    groups = [] if config is None else config.node_group_configs
    return [(dict(group.resources), group.max_count) for group in groups]


def tell_growth(groups: Sequence[Mapping[str, Any]]) -> None:
    """Write down what the cluster may grow to, where `growth` looks: fields of Ray's `NodeGroupConfig`.

    The autoscaler of `ray up` keeps it to itself. Once it writes it, as KubeRay's does, this has no use.
    """
    from ray._raylet import (  # type: ignore[attr-defined]  # compiled, without a stub
        GCS_AUTOSCALER_CLUSTER_CONFIG_KEY,
        GCS_AUTOSCALER_STATE_NAMESPACE,
    )
    from ray.core.generated.autoscaler_pb2 import ClusterConfig, NodeGroupConfig  # type: ignore[attr-defined]  # compiled, without a stub
    from ray.experimental.internal_kv import _internal_kv_put

    message = ClusterConfig(node_group_configs=[NodeGroupConfig(**group) for group in groups]).SerializeToString()
    key, namespace = GCS_AUTOSCALER_CLUSTER_CONFIG_KEY.encode(), GCS_AUTOSCALER_STATE_NAMESPACE.encode()
    _internal_kv_put(key, message, namespace=namespace)


def cluster_states() -> Callable[[], Any]:
    """Return what gives the state of the cluster that this process is connected to: a `ClusterResourceState`.

    It is what `ray status` shows. Each call raises one of Ray's own kinds if the head does not answer. Where it moves:
    `ray.util.state.list_nodes` has the nodes, but not what waits.
    """
    import ray
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # compiled, without a stub
    from ray.autoscaler.v2.sdk import get_cluster_resource_state

    client = GcsClient(ray.get_runtime_context().gcs_address)
    return lambda: get_cluster_resource_state(client)


def is_dead(node: Any) -> bool:
    """Return whether a node of a `ClusterResourceState` has ended."""
    from ray.core.generated.autoscaler_pb2 import NodeStatus  # type: ignore[attr-defined]  # compiled, without a stub

    return bool(node.status == NodeStatus.DEAD)


def packed_files(folder: Path) -> dict[str, int]:
    """Return the files that Ray would send of a working directory, and the bytes of each.

    The same functions pack what is sent: where they move, look for who calls `upload_package_if_needed`. Otherwise:
    pack the folder here, and give the archive as the working directory.
    """
    from ray._private.ray_constants import get_runtime_env_default_excludes
    from ray._private.runtime_env.packaging import _dir_travel, _get_excludes

    sizes = {}

    def add(path: Path) -> None:
        if path.is_file():
            sizes[path.relative_to(folder).as_posix()] = path.stat().st_size

    _dir_travel(folder, [_get_excludes(folder, get_runtime_env_default_excludes())], add, include_gitignore=True)
    return sizes


def packed_uri(folder: Path) -> str:
    """Return the URI that Ray gives what it sends of a working directory: names and contents of all files decide it.

    Where it moves: see `packed_files`; a digest of the archive does as well.
    """
    from ray._private.ray_constants import get_runtime_env_default_excludes
    from ray._private.runtime_env.packaging import get_uri_for_directory

    excluded = get_runtime_env_default_excludes()
    return str(get_uri_for_directory(str(folder), include_gitignore=True, excludes=excluded))


def job_client(address: str, timeout: tuple[float, float]) -> "JobSubmissionClient":
    """Return Ray's client of the dashboard at `address`, which by itself waits for ever for an answer.

    timeout: seconds to connect and to answer, as `requests` takes them. Ray's has no option; all of its requests go
    through `_do_request`, also those of its constructor.
    """
    from ray.job_submission import JobSubmissionClient

    class Impatient(JobSubmissionClient):
        def _do_request(self, method: str, endpoint: str, **rest: Any) -> Any:
            return super()._do_request(method, endpoint, **{"timeout": timeout, **rest})

    return Impatient(address)


def quiet_uploads() -> None:
    """Keep Ray from telling how it packs and sends a job's code; what goes wrong is raised. Moved loggers only chat."""
    for name in _UPLOADS:
        logging.getLogger(name).setLevel(logging.ERROR)


def job_metadata() -> dict[str, Any] | None:
    """Return the metadata of the submitted job that this process is the driver of; None if it is none.

    Ray gives it to the driver in a variable, whose name is that of a constant indeed. Where it moves:
    `JobSubmissionClient.get_job_info`, with the address of the dashboard.
    """
    if _JOB_CONFIG not in os.environ:
        return None
    try:
        metadata = json.loads(os.environ[_JOB_CONFIG])["metadata"]
    except (KeyError, TypeError, ValueError):
        metadata = {}
    return metadata if isinstance(metadata, dict) else {}
