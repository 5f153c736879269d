import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """Small work gains nothing by more threads, and loses much where the machine has other work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
