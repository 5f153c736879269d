"""A checkpoint comes from the Hub whole, of one commit, once; and what stands in the way is said in a sentence."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.data.file_server import running
from tests.hub import Fault, Hub

TOKEN = "hf_secret" + "0" * 20
FILES = ["config.json", "model.safetensors", "vocab.json", "seen_texts.bin"]
WEIGHTS = bytes(range(256)) * 4000  # about 1 MB
CHECKPOINT = {
    "config.json": b'{"model_type": "tweetcap"}',
    "model.safetensors": WEIGHTS,
    "vocab.json": b"[]",
    "modeling_tweetcap.py": b"raise SystemExit",
    "README.md": b"# Made",
}
# In a process of its own, since the client reads its environment when it is imported.
PROGRAM = """
import json, sys
from tweetcap.data.hub import fetch_checkpoint
for call in json.loads(sys.argv[1]):
    try: print(json.dumps(str(fetch_checkpoint(**call))), flush=True)
    except ValueError as error: print(json.dumps({"refused": str(error)}), flush=True)
"""


@pytest.fixture
def hub():
    with running(Hub(TOKEN)) as hub:
        hub.add("me/tc", CHECKPOINT)
        yield hub


def command(*calls):
    return [sys.executable, "-c", PROGRAM, json.dumps([{"files": FILES} | call for call in calls])]


def fetch(hub, home, *calls, token=None, **environment):
    """Return for each call a folder, or the sentence in its way."""
    environment = hub.environment(home, token) | environment
    done = subprocess.run(command(*calls), env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert TOKEN not in done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def test_a_checkpoint_is_fetched_without_its_code_and_then_serves_without_the_hub(hub, tmp_path):
    (folder,) = fetch(hub, tmp_path, {"name": "me/tc"})
    assert contents(folder) == {name: CHECKPOINT[name] for name in FILES if name in CHECKPOINT}
    sent = hub.sent
    assert fetch(hub, tmp_path, {"name": "me/tc"}, {"name": "me/tc", "local_files_only": True}) == [folder, folder]
    assert fetch(hub, tmp_path, {"name": "me/tc"}, HF_HUB_OFFLINE="1") == [folder]
    assert fetch(hub, tmp_path, {"name": "me/tc"}, HF_ENDPOINT="http://127.0.0.1:9") == [folder]
    hub.faults = [Fault("GET /api", status=503)]
    assert fetch(hub, tmp_path, {"name": "me/tc"}) == [folder]
    assert hub.sent == sent


def test_a_revision_is_a_branch_a_tag_or_a_commit_and_stays_what_it_was(hub, tmp_path):
    first = hub.repositories["model", "me/tc"].refs["main"]
    hub.repositories["model", "me/tc"].refs["v1"] = first
    second = hub.add("me/tc", CHECKPOINT | {"vocab.json": b"[1]"})
    named = [{"name": name} for name in ("me/tc", "me/tc@v1", f"me/tc@{first}", f"me/tc@{second}")]
    found = fetch(hub, tmp_path, *named, {"name": "me/tc", "revision": "v1"})
    assert [contents(folder)["vocab.json"] for folder in found] == [b"[1]", b"[]", b"[]", b"[1]", b"[]"]
    assert [folder.rsplit("/", 1)[1] for folder in found] == [second, first, first, second, first]


def test_a_private_checkpoint_needs_a_token_which_goes_to_the_hub_alone(hub, tmp_path):
    hub.add("me/hidden", CHECKPOINT, private=True)
    call = {"name": "me/hidden"}
    (without,) = fetch(hub, tmp_path, call)
    assert without["refused"].startswith("me/hidden is no folder here, and on the Hub not there or private")
    (wrong,) = fetch(hub, tmp_path, call, token="hf_wrong" + "0" * 20)
    assert "the Hub doesn't know this token" in wrong["refused"]
    (by_argument,) = fetch(hub, tmp_path, call | {"token": hub.reader})
    (by_variable,) = fetch(hub, tmp_path / "other", call, token=TOKEN)
    assert contents(by_argument)["model.safetensors"] == contents(by_variable)["model.safetensors"] == WEIGHTS
    assert all(request.authorized for request in hub.asked("/me/hidden/")[-4:])
    assert hub.asked("/cdn/") and not any(request.authorized for request in hub.asked("/cdn/"))


def test_a_download_that_is_cut_goes_on_where_it_was(hub, tmp_path):
    hub.faults = [Fault("GET /cdn", cut_after=300_000, times=2)]
    (folder,) = fetch(hub, tmp_path, {"name": "me/tc"})
    assert contents(folder)["model.safetensors"] == WEIGHTS
    assert [request.range for request in hub.asked("GET /cdn")] == [None, "bytes=300000-", "bytes=600000-"]


def test_a_download_that_was_killed_goes_on_where_it_was(hub, tmp_path):
    hub.faults = [Fault("GET /cdn", pause=0.05)]
    process = subprocess.Popen(
        command({"name": "me/tc"}), env=hub.environment(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while hub.sent < 400_000 and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert hub.sent >= 400_000
    hub.faults, before = [], len(hub.asked("GET /cdn"))
    (folder,) = fetch(hub, tmp_path, {"name": "me/tc"})
    assert contents(folder)["model.safetensors"] == WEIGHTS
    (again,) = hub.asked("GET /cdn")[before:]
    assert int(again.range.removeprefix("bytes=").removesuffix("-")) > 200_000


def test_weights_that_are_not_those_of_the_commit_are_refused(hub, tmp_path):
    (digest,) = hub.objects
    hub.objects[digest] = bytes(len(WEIGHTS))
    (refused,) = fetch(hub, tmp_path, {"name": "me/tc"})
    assert "has the sha256" in refused["refused"]


def test_what_is_in_the_way_is_said_in_a_sentence(hub, tmp_path):
    hub.add("me/bert", {"config.json": b'{"model_type": "bert"}', "model.safetensors": WEIGHTS})
    hub.add("me/data", {"README.md": b"# Data"})
    hub.faults = [
        Fault("/me/closed", status=403, headers={"X-Error-Message": "no"}),
        Fault("/me/gated", status=403, headers={"X-Error-Code": "GatedRepo"}),
        Fault("/me/busy", status=429, headers={"Retry-After": "60"}),
        Fault("/me/down", status=503),
    ]
    expected = {
        "me/nothing": "me/nothing is no folder here, and on the Hub not there or private; check the name",
        "me/tc@v9": "me/tc has no revision v9; give the name of a branch, a tag or a commit.",
        "me/tc@": "me/tc@ names no revision behind its @",
        "me/closed": "me/closed may not be read with this token",
        "me/gated": "me/gated has terms to accept first",
        "me/busy": "the Hub was asked too often; try again in 60 s.",
        "me/down": "the Hub answered 503 for me/down; try again later.",
        "me/bert": "me/bert holds no TweetCap checkpoint (its config.json names bert)",
        "me/data": "me/data holds no TweetCap checkpoint (it has no config.json)",
        "runs/mine/best": "runs/mine/best is no folder and no name on the Hub",
        "not here": "not here is no folder and no name on the Hub",
    }
    answers = fetch(hub, tmp_path, *({"name": name} for name in expected), {"name": "me/tc@a", "revision": "b"})
    for answer, sentence in zip(answers, [*expected.values(), "me/tc@a names another revision than b"], strict=True):
        assert answer["refused"].startswith(sentence), answer
        assert "\n" not in answer["refused"]
    assert not hub.asked("/me/bert/resolve/.*/model.safetensors")
    known = {"name": "me/nothing"}
    (absent,) = fetch(hub, tmp_path, known, token=hub.reader)
    assert absent["refused"].startswith("me/nothing is no folder here, and on the Hub not there, or this token")
    (unreachable,) = fetch(hub, tmp_path, {"name": "me/tc"}, HF_ENDPOINT="http://127.0.0.1:9")
    assert unreachable["refused"].startswith("the Hub can't be reached (ConnectError)")
    offline = fetch(hub, tmp_path, {"name": "me/tc"}, {"name": "me/tc", "local_files_only": True}, HF_HUB_OFFLINE="1")
    for answer in offline:
        assert answer["refused"].startswith("me/tc is no folder here and not whole in the Hub's cache")
