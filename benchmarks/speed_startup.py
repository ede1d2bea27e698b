r"""How long a user waits for the first thing to happen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from _measure import seconds

DEPENDENCIES = "import torch, torch_geometric"
EVERYTHING = "from pyg_ghn import GHN3, from_pretrained, initialize"


def measure(repeats: int = 5) -> list[dict[str, Any]]:
    r"""Seconds of whole processes."""
    command = Path(sys.executable).parent / "pyg-ghn"
    calls = {
        "python": [sys.executable, "-c", "pass"],
        DEPENDENCIES: [sys.executable, "-c", DEPENDENCIES],
        f"{DEPENDENCIES}, pyg_ghn": [sys.executable, "-c", f"{DEPENDENCIES}, pyg_ghn"],
        f"{DEPENDENCIES}; {EVERYTHING}": [sys.executable, "-c", f"{DEPENDENCIES}; {EVERYTHING}"],
        "pyg-ghn --help": [str(command), "--help"],
    }
    return [
        {"process": name, "seconds": seconds(lambda call=call: _run(call), repeats)}
        for name, call in calls.items()
    ]


def _run(call: list[str]) -> None:
    subprocess.run(call, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
