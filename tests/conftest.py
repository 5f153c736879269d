"""What several tests share: a writer that answers at once and the photos that come with gradio, a browser."""

import os

# Before any library reads them: nothing in the tests may reach for a network.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import shutil
from importlib.resources import files
from pathlib import Path

import pytest

from tests.fake_writer import FakeWriter

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
def lion() -> Path:
    return Path(str(files("gradio"))) / "media_assets" / "images" / "lion.jpg"


@pytest.fixture
def one_thread():
    """Small work gains nothing by more threads, and loses much where the machine has other work."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def processor(tmp_path_factory):
    """The processor of tests/tiny.py's networks."""
    from tests.tiny import tiny_processor, tiny_tokenizer

    return tiny_processor(tiny_tokenizer(tmp_path_factory.mktemp("tokenizer")))


@pytest.fixture
def fake_writer() -> FakeWriter:
    return FakeWriter()


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()
