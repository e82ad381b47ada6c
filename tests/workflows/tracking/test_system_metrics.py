"""System metrics under the names that MLflow gives them, without MLflow."""

import subprocess
import sys

import torch
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

from workflows.tracking.system_metrics import system_metrics


def test_the_names_are_those_of_mlflow_s_own_monitors() -> None:
    names = set()
    for monitor in (CPUMonitor(), DiskMonitor(), NetworkMonitor()):
        monitor.collect_metrics()
        names |= {f"system/{name}" for name in monitor.metrics}
    metrics = system_metrics()
    assert {name for name in metrics if not name.startswith("system/gpu_")} == names
    assert any(name.startswith("system/gpu_0_") for name in metrics) == torch.cuda.is_available()
    for name, value in metrics.items():
        assert 0 <= value <= (100 if name.endswith("_percentage") else 1e12), name


def test_trials_need_not_import_mlflow_for_them() -> None:
    program = (
        "import sys; import workflows.tracking.system_metrics as s; s.system_metrics(); print('mlflow' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"
