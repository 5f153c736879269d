import pytest


@pytest.fixture(autouse=True)
def _small_work(one_thread):
    """All of these tests are small."""
