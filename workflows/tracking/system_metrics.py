"""What this machine is doing, under the names of MLflow's "System metrics" tab."""

import os

import psutil
import torch

_PREFIX = "system/"
_MEGABYTE = 1e6


def system_metrics() -> dict[str, float]:
    """Return use of CPUs, memory, disk, network and, where there are some, GPUs, of the node of this process.

    The CPUs' use is the mean since the last call in this process, 0 on the first; bytes on the network count from the
    node's start. What cannot be read is left out.
    """
    memory, disk = psutil.virtual_memory(), psutil.disk_usage(os.sep)
    metrics = {
        "cpu_utilization_percentage": psutil.cpu_percent(),
        "system_memory_usage_megabytes": memory.used / _MEGABYTE,
        "system_memory_usage_percentage": 100 * memory.used / memory.total,
        "disk_usage_percentage": disk.percent,
        "disk_usage_megabytes": disk.used / _MEGABYTE,
        "disk_available_megabytes": disk.free / _MEGABYTE,
    }
    if network := psutil.net_io_counters():
        metrics["network_receive_megabytes"] = network.bytes_recv / _MEGABYTE
        metrics["network_transmit_megabytes"] = network.bytes_sent / _MEGABYTE
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            metrics.update({f"gpu_{number}_{name}": value for name, value in _of_gpu(number).items()})
    return {f"{_PREFIX}{name}": round(float(value), 1) for name, value in metrics.items()}


def _of_gpu(number: int) -> dict[str, float]:
    free, total = torch.cuda.mem_get_info(number)
    values = {
        "memory_usage_percentage": 100 * (total - free) / total,
        "memory_usage_megabytes": (total - free) / _MEGABYTE,
    }
    try:
        values["utilization_percentage"] = torch.cuda.utilization(number)
        values["power_usage_watts"] = torch.cuda.power_draw(number) / 1000
    except Exception:  # NVML has many of its own for what a device, a driver or a container does not tell
        pass
    return values
