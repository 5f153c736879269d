"""docs/voice.md from end to end: an archive becomes a model of one's own, on the Hub and under the Space's page.

The embedded checkpoint is trained for one short epoch, so what is tested is that everything fits together and what is
promised of posts, not how well a voice is learned.
"""

import json
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import ModelCard
from safetensors.numpy import load_file

from tests.collect.archives import USER_ID, USERNAME, archive_files, tweet, write_zip
from tests.data.file_server import running
from tests.hub import Hub
from tests.publish.conftest import COMMANDS, NOTES, TOKEN, run
from tests.publish.test_round_trip import wait_for
from tests.training.processes import TRAINING, train
from tweetcap import TweetWriter
from tweetcap.collect.posts import POSTS
from tweetcap.data.tables import open_table
from tweetcap.write.filters import SeenTexts, reason_to_drop
from tweetcap.write.writer import EMBEDDED, SEEN_TEXTS

MODEL = "me/voice"
TEST = Path(__file__).parents[1] / "dataset_cards" / "animal_tweets_starter" / "test.parquet"
# About photos that the embedded checkpoint wasn't trained on, with an ending that it doesn't know.
TEXTS = [
    f"{tweets[-1]['text'].rstrip('。！？')}でござる"
    for tweets in pq.read_table(TEST, columns=["tweets"]).column("tweets")[:40].to_pylist()
]


@dataclass(frozen=True)
class Story:
    """Where everything lies after all commands."""

    folder: Path
    photos: list[bytes]
    hub: Hub
    said: list[str]

    @property
    def best(self) -> Path:
        return self.folder / "runs" / "voice" / "best"

    def texts(self, split: str) -> list[str]:
        return [row["text"] for row in open_table(self.folder / "corpora" / "mine", split).dataset]


def commands(hub: Hub, folder: Path, *each: list[str]) -> list[str]:
    """Run commands one after the other in a fresh process; return what they said on standard output."""
    ended = run(hub, folder, COMMANDS, json.dumps(each))
    for arguments, (code, _, errors) in zip(each, ended, strict=True):
        assert code == 0, (arguments, errors)
    return [output for _, output, _ in ended]


@pytest.fixture(scope="module")
def story(tmp_path_factory) -> Story:
    """The commands of docs/voice.md, in its order."""
    folder = tmp_path_factory.mktemp("voice")
    tweets = [tweet(number, text) for number, text in enumerate(TEXTS, start=7)]
    files = archive_files(tweets)
    write_zip(folder / "twitter.zip", files)
    (folder / "notes.md").write_text(NOTES, encoding="utf-8")
    with running(Hub(TOKEN)) as hub:
        commands(
            hub,
            folder,
            ["collect", "--archive", "twitter.zip", "--output", "mine"],
            ["dataset", "build", "tweets", "--collection", "mine", "--output", "corpora/mine"],
        )
        corpus, output = folder / "corpora" / "mine", folder / "runs" / "voice"
        shorter = ("views=1", "sample_photos=1", "stages.0.epochs=1", "stages.0.sources.posts=1")
        ended = train(
            *("--config", TRAINING / "configs" / "voice.yaml", "--corpus", corpus, "--output", output),
            *("--start", EMBEDDED, "--tokenizer", EMBEDDED, "--tracker", "none"),
            *(argument for override in shorter for argument in ("--override", override)),
            folder=folder / "log",
        )
        assert ended.well, ended.printed[-2000:]
        best = "runs/voice/best"
        evaluate = ["evaluate", "--dataset", "corpora/mine", "--split", "test", "--photos", "2", "--model", best]
        push = ["push", best, MODEL, "--notes", "notes.md", "--metrics", "runs/evaluation/metrics.json", "--private"]
        said = commands(hub, folder, [*evaluate, "--output", "runs/evaluation"], push)
        yield Story(folder, [data for name, data in files.items() if name.endswith(".jpg")], hub, said)


def test_the_model_on_the_hub_is_the_trained_one_and_not_the_start(story):
    pushed = story.hub.files(MODEL)
    assert story.said[-1] == f"{story.hub.url}/{MODEL}\n"
    assert pushed["model.safetensors"] == (story.best / "model.safetensors").read_bytes()
    start, own = load_file(EMBEDDED / "model.safetensors"), load_file(story.best / "model.safetensors")
    assert start.keys() == own.keys()
    changed = {name for name in own if not np.array_equal(start[name], own[name])}
    assert any(name.startswith("decoder.") for name in changed)
    assert not any(name.startswith("encoder.") for name in changed)  # frozen
    card = ModelCard(pushed["README.md"].decode())
    assert card.data.license == yaml.safe_load(NOTES.split("---")[1])["license"]
    assert card.data.eval_results


def test_neither_own_posts_nor_the_texts_behind_the_start_are_repeated(story):
    writer = TweetWriter.from_pretrained(story.best)
    train_texts = story.texts("train")
    assert len(train_texts) > 20
    assert {reason_to_drop(text, seen=writer.seen) for text in train_texts} == {"copy"}
    start = SeenTexts.load(EMBEDDED / SEEN_TEXTS)
    assert not any(text in start for text in train_texts)
    assert len(writer.seen) == len(start) + len(set(train_texts))
    assert len(writer.seen | start) == len(writer.seen)
    held_out = [*story.texts("validation"), *story.texts("test")]
    assert held_out and not any(text in writer.seen for text in held_out)  # they weren't trained on


def test_nothing_of_a_post_is_in_any_pushed_file(story):
    posts = [json.loads(line) for line in (story.folder / "mine" / POSTS).read_text().splitlines()]
    assert len(posts) == len(TEXTS)
    private = [text.encode() for text in TEXTS] + [text[-12:].encode() for text in TEXTS]
    private += [post["post_id"].encode() for post in posts] + [USERNAME.encode(), USER_ID.encode()]
    # Quantisation tables are alike in all photos; what follows them is not.
    private += [photo[len(photo) // 2 :][:64] for photo in story.photos]
    private.append(str(story.folder).encode())
    for name, data in story.hub.files(MODEL).items():
        assert not [part for part in private if part in data], name
        assert b"\xff\xd8\xff\xe0\x00\x10JFIF" not in data, name


def test_a_fresh_process_writes_with_the_pushed_model_at_the_pushed_commit(story, lion):
    commit = story.hub.repositories["model", MODEL].refs["main"]
    write = ["write", str(lion), "--seed", "1", "--count", "4", "--model"]
    each = [[*write, model] for model in (MODEL, f"{MODEL}@{commit}", "runs/voice/best")]
    by_name, by_commit, local = commands(story.hub, story.folder, *each)
    assert by_name == by_commit == local
    texts = [line.split("\t")[1] for line in by_name.splitlines()]
    assert len(texts) == 4 and not set(texts) & set(TEXTS)


def test_the_space_serves_the_pushed_model(story):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = story.hub.environment(story.folder / "space", story.hub.reader)
    environment |= {"TWEETCAP_MODEL": MODEL, "GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False"}
    app = Path(__file__).parents[1] / "app.py"
    with (story.folder / "space.log").open("w") as log:
        process = subprocess.Popen([sys.executable, app], cwd=story.folder, env=environment, stdout=log, stderr=log)
    try:
        health = wait_for(f"http://127.0.0.1:{port}/health", process)
    finally:
        process.terminate()
        process.wait(timeout=30)
    assert health, (story.folder / "space.log").read_text()[-3000:]
    assert health["status"] == "ok"
    assert (health["model"], health["revision"]) == (MODEL, story.hub.repositories["model", MODEL].refs["main"])
