"""What several tests share: a writer that answers at once and the photos that come with gradio."""

import os

# Before any library reads them: nothing in the tests may reach for a network.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

from importlib.resources import files
from pathlib import Path

import pytest

from tests.fake_writer import FakeWriter


@pytest.fixture
def lion() -> Path:
    return Path(str(files("gradio"))) / "media_assets" / "images" / "lion.jpg"


@pytest.fixture
def fake_writer() -> FakeWriter:
    return FakeWriter()
