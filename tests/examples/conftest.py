import importlib.util
from pathlib import Path

import pytest


@pytest.fixture
def examples():
    return Path(__file__).parents[2] / "examples"


@pytest.fixture
def example(examples):
    """Imports an example as a module."""

    def load(name):
        spec = importlib.util.spec_from_file_location(f"example_{name}", examples / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
