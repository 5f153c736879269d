"""Pushed from one process, loaded in a fresh one: without the package, with it, as a pipeline, and as a Space."""

import json
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
import torch

from tests.publish.conftest import COMMANDS, run
from tests.tiny import some_photos
from tweetcap import TweetWriter
from tweetcap.commands.write import Source
from tweetcap.model import TweetCapProcessor, modeling_tweetcap

GENERATE = {"max_new_tokens": 10, "num_beams": 3, "do_sample": False}
LOAD = """
import json, sys, torch
from transformers import AutoModelForImageTextToText, AutoProcessor, pipeline
name, commit, photo = sys.argv[1], sys.argv[2], torch.load(sys.argv[3])
generate = json.loads(sys.argv[4])
options = {"revision": commit} | EXTRA
model = AutoModelForImageTextToText.from_pretrained(name, **options)
processor = AutoProcessor.from_pretrained(name, **options)
ids = model.generate(**processor(images=photo, tone="ツッコミ", return_tensors="pt"), **generate)
answer = {"ids": ids[0].tolist(), "code": sys.modules[type(model).__module__].__file__}
"""
WITHOUT = (
    # An import hook hides the installed package: what loads is the code on the Hub.
    "import sys; sys.modules['tweetcap'] = None\nEXTRA = {'trust_remote_code': True}\n"
    + LOAD
    + """
pipe = pipeline("image-to-text", model=name, **options)
answer["piped"] = pipe(photo, tone="ツッコミ", **generate)[0]["generated_text"]
print(json.dumps(answer))
"""
)
WITH = (
    "import tweetcap.model\nEXTRA = {}\n"
    + LOAD
    + """
from typer.testing import CliRunner
from tweetcap import TweetWriter
from tweetcap.cli import app
def tweets(**how):
    return [tweet.text for tweet in TweetWriter.from_pretrained(**how).write(photo, seed=5)]
answer["tweets"] = tweets(path_or_hub_id=name)
answer["pinned"] = tweets(path_or_hub_id=f"{name}@{commit}", local_files_only=True)
answer["commit"] = TweetWriter.from_pretrained(name, revision=commit).model.config._commit_hash
settings = ["--seed", sys.argv[6], "--temperature", "2.0"]  # at lower ones an untrained network never ends a text
result = CliRunner().invoke(app, ["write", sys.argv[5], "--model", f"{name}@main", *settings])
answer["command"] = [result.exit_code, result.output]
answer["remote code"] = [module for module in sys.modules if module.startswith("transformers_modules")]
print(json.dumps(answer))
"""
)
PHOTO = some_photos(1)[0]


@pytest.fixture(scope="module")
def writer(pushed) -> TweetWriter:
    return TweetWriter.from_pretrained(pushed.checkpoint, device="cpu")


@pytest.fixture(scope="module")
def expected_ids(pushed, writer):
    inputs = TweetCapProcessor.from_pretrained(pushed.checkpoint)(images=PHOTO, tone="ツッコミ", return_tensors="pt")
    return writer.model.generate(**inputs, **GENERATE)[0].tolist()


def load(hub, program, home, *arguments):
    torch.save(PHOTO, home / "photo.pt")
    commit = hub.repositories["model", "me/tiny"].refs["main"]
    generate = json.dumps(GENERATE)
    (answer,) = run(hub, home, program, "me/tiny", commit, home / "photo.pt", generate, *arguments, token=hub.reader)
    return answer, commit


def test_a_fresh_process_without_the_package_gives_the_same_text(hub, writer, expected_ids, tmp_path):
    answer, commit = load(hub, WITHOUT, tmp_path)
    assert answer["ids"] == expected_ids
    assert answer["piped"] == writer.tokenizer.decode(expected_ids, skip_special_tokens=True)
    assert str(tmp_path) in answer["code"]
    assert commit in answer["code"]


def test_a_fresh_process_with_the_package_writes_the_same_tweets_and_runs_no_code_from_the_hub(
    hub, writer, expected_ids, lion, tmp_path
):
    before = len(hub.requests)

    def of_command(seed: int) -> list[str]:
        drawn = writer.write(lion, seed=Source("", lion.name).seed(seed), temperature=2.0)
        return [f"{tweet.tone}\t{tweet.text}" for tweet in drawn]

    seed = next(seed for seed in range(50) if of_command(seed))
    answer, commit = load(hub, WITH, tmp_path, lion, str(seed))
    assert answer["ids"] == expected_ids
    tweets = [tweet.text for tweet in writer.write(PHOTO, seed=5)]
    assert tweets
    assert answer["tweets"] == answer["pinned"] == tweets
    assert answer["commit"] == commit
    assert answer["command"] == [0, "".join(f"{line}\n" for line in of_command(seed))]
    assert answer["remote code"] == []
    assert answer["code"] == modeling_tweetcap.__file__
    code = [request.path for request in hub.requests[before:] if request.method == "GET" and ".py" in request.path]
    assert code == []


def test_a_pushed_space_runs_as_it_is_with_the_model_that_it_names(hub, pushed, tmp_path):
    _, output, remarks = pushed.space
    assert output == f"{hub.url}/spaces/me/page\n"
    assert "me/tiny is private; give the Space a secret HF_TOKEN" in remarks
    files, variables = hub.files("me/page", "space"), hub.repositories["space", "me/page"].variables
    assert variables == {"TWEETCAP_MODEL": "me/tiny"}
    assert not [name for name in files if "checkpoint/" in name or "__pycache__" in name]
    assert b"models:\n- me/tiny\n" in files["README.md"]
    folder, before = tmp_path / "space", len(hub.requests)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = hub.environment(tmp_path / "home", hub.reader) | variables
    environment |= {"GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False"}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, "app.py"], cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        config = wait_for(f"http://127.0.0.1:{port}/config", process)
    finally:
        process.terminate()
        process.wait(timeout=30)
    assert config, (tmp_path / "log").read_text()[-3000:]
    assert config["version"]
    assert any("/me/tiny/resolve/" in request.path for request in hub.requests[before:])


def test_a_space_that_goes_back_to_the_embedded_checkpoint_forgets_its_model(hub, tmp_path):
    hub.add("me/other", {"config.json": b'{"model_type": "bert"}'})
    hub.add("me/named", {"config.json": b'{"model_type": "tweetcap"}'})
    commands = [
        ["push", "--space", "me/back", "--model", "me/other"],
        ["push", "--space", "me/back", "--model", "me/named"],
        ["push", "--space", "me/back"],
    ]
    refused, named, back = run(hub, tmp_path, COMMANDS, json.dumps(commands))
    assert refused[0] == 2
    assert "its config.json names bert" in refused[2]
    assert (named[0], back[0]) == (0, 0)
    assert hub.repositories["space", "me/back"].variables == {}
    assert "tweetcap/checkpoint/model.safetensors" in hub.files("me/back", "space")


def wait_for(url: str, process: subprocess.Popen) -> dict | None:
    """Return what a server answers, as soon as it does; None if it ended or took more than two minutes."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            return json.load(opener.open(url, timeout=5))
        except (OSError, ValueError):
            time.sleep(0.5)
    return None
