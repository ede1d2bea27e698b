r"""Imports on first use: torch and PyG take seconds, ``pyg-ghn --help`` should not."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any


def lazy_getattr(package: str, modules: dict[str, str]) -> Callable[[str], Any]:
    r"""Makes the ``__getattr__`` of a package.

    Args:
        package (str): The package's name.
        modules (dict): Public name to the module that defines it.
    """

    def __getattr__(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        value = getattr(importlib.import_module(modules[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return __getattr__
