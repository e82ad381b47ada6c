"""What only Triton's interpreter shows on a machine without a GPU."""

import subprocess
import sys


def require_passes_in_interpreter(program: str) -> None:
    """Run a program in a process of its own: Triton looks at TRITON_INTERPRET when a kernel is defined."""
    done = subprocess.run(
        [sys.executable, "-c", f"import os; os.environ['TRITON_INTERPRET'] = '1'; {program}; print('equal')"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "equal\n", done.stderr
