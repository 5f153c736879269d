"""What the tests of training share: drawn shapes, and small Parquet corpora as the builders write them."""

from dataclasses import dataclass
from pathlib import Path

import pytest

import tests.training.processes  # noqa: F401  puts training/ on the path
from tests.data.made_corpora import POSTS, STAIR, post_rows, stair_rows, write_corpus
from tweetcap.data.animals import load_animals

CONFIG = Path(__file__).with_name("small.yaml")


@dataclass(frozen=True)
class Made:
    """A corpus folder or two, and a tokenizer for them."""

    corpora: tuple[Path, ...]
    tokenizer: Path

    def arguments(self, output: Path, *more: object, config: Path = CONFIG) -> list[object]:
        corpora = [argument for corpus in self.corpora for argument in ("--corpus", corpus)]
        saved = ("--tokenizer", self.tokenizer, "--output", output, "--tracker", "none")
        return ["--config", config, *corpora, *saved, *more]


@pytest.fixture(autouse=True)
def _tiny_networks(one_thread):
    """All of these tests train."""


def make_tokenizer(texts: list[str], folder: Path) -> Path:
    from train_tokenizer import build_vocabulary, save_tokenizer

    animals = [animal.word for animal in load_animals()]
    save_tokenizer(build_vocabulary([(text, 12) for text in texts], animals, 700), folder)
    return folder


@pytest.fixture(scope="session")
def shapes(tmp_path_factory) -> Made:
    """Coloured shapes with captions and tweets in all tones: a starter corpus."""
    from draw_shapes import draw_corpus
    from train_tokenizer import weighted_texts

    folder = tmp_path_factory.mktemp("shapes")
    draw_corpus(folder / "corpus")
    texts = [text for text, _ in weighted_texts([folder / "corpus"])]
    return Made((folder / "corpus",), make_tokenizer(texts, folder / "tokenizer"))


@pytest.fixture(scope="session")
def parquet(tmp_path_factory) -> Made:
    """Posts and STAIR Captions."""
    folder = tmp_path_factory.mktemp("parquet")
    posts, stair = post_rows(56), stair_rows(20)
    write_corpus(folder / "posts", POSTS, train=posts[:48], validation=posts[48:])
    write_corpus(folder / "stair", STAIR, train=stair[:16], validation=stair[16:])
    texts = [post["text"] for post in posts] + [caption for row in stair for caption in row["captions"]]
    return Made((folder / "posts", folder / "stair"), make_tokenizer(texts, folder / "tokenizer"))
