"""Where benchmarks leave their measures."""

import json
import platform
from pathlib import Path
from typing import Any

import torch


def add_measures(file: Path, part: str, measures: dict[str, Any]) -> None:
    """Put a part's measures, and what they were taken on, into a file beside the other parts', and print them."""
    results = json.loads(file.read_text()) if file.exists() else {}
    machine = {"threads": torch.get_num_threads(), "torch": torch.__version__, "python": platform.python_version()}
    results[part] = measures | {"machine": machine}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(results, indent=2, default=float) + "\n")
    print(json.dumps(results[part], indent=2, default=float))
