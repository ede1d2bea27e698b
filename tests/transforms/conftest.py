from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def golden_names():
    folder = Path(__file__).parents[1] / "golden" / "torchvision"
    return sorted(path.name.removesuffix(".json.gz") for path in folder.glob("*.json.gz"))
