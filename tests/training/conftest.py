import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def toy():
    if "aime_toy" not in sys.modules:
        path = Path(__file__).with_name("toy.py")
        spec = importlib.util.spec_from_file_location("aime_toy", path)
        module = importlib.util.module_from_spec(spec)
        sys.modules["aime_toy"] = module
        spec.loader.exec_module(module)
    return sys.modules["aime_toy"]
