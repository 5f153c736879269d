"""Build the vocabulary of one corpus or several: words and characters by how often they are read and written.

python training/train_tokenizer.py --corpus CORPUS --output runs/tokenizer
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from tweetcap.data.animals import load_animals
from tweetcap.data.examples import SOURCES
from tweetcap.data.starter import (
    CASUAL,
    HUMAN,
    STARTER,
    UNPAIRED,
    read_casual,
    read_human_captions,
    read_starter,
    read_unpaired,
)
from tweetcap.data.tables import BadRows, open_table
from tweetcap.model import CAPTION_TONE, TweetCapTokenizer, normalise, split_words
from tweetcap.model.tokenization_tweetcap import BYTE_TOKENS, SPECIAL_TOKENS

# What the model has to write counts more than what it only reads to learn the language.
WEIGHTS = {"tweets": 12, "captions": 6, "unpaired": 2, "casual": 1}
MIN_CHARACTER_COUNT = 12


def weighted_texts(corpora: Sequence[str | Path]) -> list[tuple[str, int]]:
    """Return (text, weight) of every training text; validation and test texts stay unseen.

    Raises:
        ValueError: one of them is no corpus, in one sentence.
    """
    texts = []
    for corpus in corpora:
        texts += _starter_texts(Path(corpus)) if (Path(corpus) / STARTER).is_file() else _table_texts(corpus)
    return texts


def _starter_texts(corpus: Path) -> list[tuple[str, int]]:
    photos = read_starter(corpus, "train")
    texts = [(tweet.text, WEIGHTS["tweets"]) for photo in photos for tweet in photo.tweets]
    texts += [(photo.caption, WEIGHTS["captions"]) for photo in photos]
    if (corpus / HUMAN).is_file():
        texts += [(c, WEIGHTS["captions"]) for photo in read_human_captions(corpus, "train") for c in photo.captions]
    if (corpus / UNPAIRED).is_file():
        texts += [(text, WEIGHTS["unpaired"]) for text in read_unpaired(corpus)]
    if (corpus / CASUAL).is_file():
        texts += [(text, WEIGHTS["casual"]) for text in read_casual(corpus)]
    return texts


def _table_texts(corpus: str | Path) -> list[tuple[str, int]]:
    table = open_table(corpus, "train")
    if table is None:
        raise ValueError(f"{corpus} has no training split; give a corpus that `tweetcap dataset build` wrote.")
    found = (text for row, _ in table.read(None) for text in table.texts(row, SOURCES, BadRows("skip")))
    return [(text.text, WEIGHTS["captions" if text.tone == CAPTION_TONE else "tweets"]) for text in found]


def build_vocabulary(texts: list[tuple[str, int]], must_have: list[str], size: int) -> list[str]:
    """Return the tokens in order of id: special tokens, bytes, characters, `must_have`, words by frequency.

    Args:
        texts: (text, weight) pairs.
        must_have: words that get a token however rare they are.
        size: upper bound on the number of tokens.

    Raises:
        ValueError: where `size` leaves no room for words.
    """
    words, characters = Counter(), Counter()
    for text, weight in tqdm(texts, desc="counting words", unit=" texts"):
        for word in split_words(normalise(text)):
            words[word] += weight
            for character in word:
                characters[character] += weight
    tokens = [*SPECIAL_TOKENS, *BYTE_TOKENS]
    tokens += sorted(character for character, count in characters.items() if count >= MIN_CHARACTER_COUNT)
    known = set(tokens)
    candidates = [*dict.fromkeys(must_have), *(word for word, _ in words.most_common())]
    fresh = [word for word in dict.fromkeys(candidates) if word not in known]
    if len(tokens) >= size:
        raise ValueError(
            f"size {size} holds the {len(tokens)} special tokens, bytes and characters only; make it larger."
        )
    return tokens + fresh[: size - len(tokens)]


def save_tokenizer(tokens: list[str], output: Path) -> TweetCapTokenizer:
    """Write a folder that `--tokenizer` takes, and return the tokenizer."""
    output.mkdir(parents=True, exist_ok=True)
    vocab_file = output / "vocab.json"
    vocab_file.write_text(json.dumps(tokens, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    tokenizer = TweetCapTokenizer(str(vocab_file))
    tokenizer.save_pretrained(output)
    return tokenizer


def main(
    corpus: Annotated[list[str], typer.Option(help="Starter folder, folder of Parquet or ORG/NAME; repeatable.")],
    output: Annotated[Path, typer.Option(help="Folder for the tokenizer.")],
    size: Annotated[int, typer.Option(help="Upper bound on the number of tokens.")] = 9000,
) -> None:
    """Build the vocabulary and say how much of the training texts it covers."""
    try:
        texts = weighted_texts(corpus)
        tokens = build_vocabulary(texts, [animal.word for animal in load_animals()], size)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    tokenizer = save_tokenizer(tokens, output)
    for kind, weight in WEIGHTS.items():
        sample = [text for text, w in texts if w == weight][::10]
        if not sample:
            continue
        pieces = sum(len(tokenizer.tokenize(text)) for text in sample)
        whole = sum(len(split_words(normalise(text))) for text in sample)
        typer.echo(f"{kind}: {pieces / whole:.3f} tokens a word")
    typer.echo(f"{len(tokens)} tokens in {output}")


if __name__ == "__main__":
    typer.run(main)
