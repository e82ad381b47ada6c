"""Connecting to Ray."""

import logging
import os
import warnings
from typing import Any

import ray


def connect() -> dict[str, float]:
    """Join the cluster that this process belongs to, or start Ray on this machine; return the resources there are.

    A job (RAY_ADDRESS is set) joins its cluster. Starting Ray gives it at least two logical CPUs, as a pipeline of
    actors and tasks stands still on one.
    """
    if not ray.is_initialized():
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        os.environ.setdefault("RAY_TRAIN_METRICS_ENABLED", "0")
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what matters comes as an exception
        quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if os.environ.get("RAY_ADDRESS"):
                ray.init(**quiet)
            else:
                ray.init("local", num_cpus=max(2, os.cpu_count() or 1), include_dashboard=False, **quiet)
    return dict(ray.cluster_resources())
