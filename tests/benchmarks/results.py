"""Where benchmarks leave their figures."""

import json
import platform
from pathlib import Path
from typing import Any

import torch


def add_figures(file: Path, part: str, figures: dict[str, Any]) -> None:
    """Put a part's figures, and what they were taken on, into a file beside the other parts', and print them."""
    results = json.loads(file.read_text()) if file.exists() else {}
    machine = {"threads": torch.get_num_threads(), "torch": torch.__version__, "python": platform.python_version()}
    results[part] = figures | {"machine": machine}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(results, indent=2, default=float) + "\n")
    print(json.dumps(results[part], indent=2, default=float))
