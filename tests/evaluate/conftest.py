"""A corpus of four photos, and a writer in place of every checkpoint."""

import pytest

from tests.evaluate.known_writer import KnownWriter, save_corpus
from tweetcap.evaluate import command


@pytest.fixture
def writer(monkeypatch):
    known = KnownWriter()
    monkeypatch.setattr(command.TweetWriter, "from_pretrained", lambda model=None: known)
    return known


@pytest.fixture
def corpus(tmp_path):
    return save_corpus(tmp_path / "corpus")
