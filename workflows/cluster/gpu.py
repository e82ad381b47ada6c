"""GPUs that Ray counts and torch cannot use: found before work is given to them, and said node by node."""

import logging
import re
from pathlib import Path
from typing import Any

import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from isoenergy.errors import InputError

_LOG = logging.getLogger(__name__)
_DRIVER = Path("/proc/driver/nvidia/version")
_LEAST_DRIVERS = {"11": "450.80.02", "12": "525.60.13", "13": "580.65.06"}
"""By the CUDA that torch was built for; source: CUDA's release notes, minor version compatibility."""
_SECONDS = 60.0
_SIZE = 64


def require_usable_gpus() -> None:
    """Have each node that has GPUs multiply two matrices on one; raise InputError, naming the first that cannot.

    A node whose GPUs are all in use is left out: what runs there uses them. One that joins later is checked by the
    workers that it is given (`given_device`).
    """
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU", 0) > 0]
    task = ray.remote(num_cpus=0, num_gpus=0.01, max_retries=0)(unusable_gpu)
    asked: dict[Any, str] = {
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(): (
            node["NodeManagerAddress"]
        )
        for node in nodes
    }
    answered, busy = ray.wait(list(asked), num_returns=len(asked), timeout=_SECONDS) if asked else ([], [])
    for answer in answered:
        if (why := ray.get(answer)) is not None:
            raise InputError(f"node {asked[answer]} has {why}")
    for late in busy:
        ray.cancel(late)
        _LOG.warning("the GPUs of node %s were not checked: they were in use for %g s", asked[late], _SECONDS)


def given_device(has_gpu: bool) -> torch.device:
    """Return the device of a worker; raise InputError if it was given a GPU that torch cannot use."""
    if not has_gpu:
        return torch.device("cpu")
    if (why := unusable_gpu()) is not None:
        raise InputError(f"node {ray.util.get_node_ip_address()} has {why}")
    return torch.device("cuda")


def unusable_gpu() -> str | None:
    """Return what is wrong with this process's GPU, and what to do, or None if it multiplies two matrices right."""
    try:
        torch.cuda.init()
        ones = torch.ones(_SIZE, _SIZE, device="cuda")
        total = float((ones @ ones).sum())
        trouble = "" if total == _SIZE**3 else f"a sum of {_SIZE**3} came out as {total:g}"
    except Exception as error:  # torch, CUDA and the driver have kinds of their own
        trouble = " ".join(str(error).split())
    if not trouble:
        return None
    built = torch.version.cuda
    if built is None:
        return f"a GPU, and a torch ({torch.__version__}) without CUDA; install the one from PyPI on all nodes"
    least = _LEAST_DRIVERS.get(built.partition(".")[0], "that its release notes name")
    return (
        f"a GPU that torch cannot use ({trouble}): its driver is {_driver() or 'not to be found'}, and torch "
        f"{torch.__version__} is built for CUDA {built}, which needs driver {least} or later; update the driver, or "
        f"start Ray on that node with --num-gpus=0 to compute on its CPUs"
    )


def _driver() -> str | None:
    try:
        found = re.search(r"\b\d{3}\.\d+(\.\d+)?\b", _DRIVER.read_text())
    except OSError:
        return None
    return found[0] if found else None
