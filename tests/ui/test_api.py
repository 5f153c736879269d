"""The named endpoints, through gradio_client and over plain HTTP."""

import base64
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from tests.fake_writer import FakeWriter
from tests.ui.served import call, served, upload
from tweetcap.ui.api import ENDPOINTS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with served(FakeWriter(), tmp_path_factory.mktemp("uploads")) as address:
        yield address


@pytest.fixture(scope="module")
def client(address):
    return Client(address, verbose=False)


def data_url(data: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


def test_the_page_names_two_endpoints_and_types_what_they_take_and_give(client):
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(endpoints) == {f"/{name}" for name in ENDPOINTS}
    parameters = {part["parameter_name"]: part for part in endpoints["/write"]["parameters"]}
    assert list(parameters) == ["photo", "count", "tone", "temperature", "guidance", "top_p", "seed"]
    assert [name for name, part in parameters.items() if not part["parameter_has_default"]] == ["photo"]
    assert parameters["photo"]["python_type"]["type"] == "filepath | str"
    assert "大喜利" in parameters["tone"]["python_type"]["type"]
    (answer,) = endpoints["/write"]["returns"]
    assert answer["type"]["required"] == ["tweets", "seed", "description", "model"]
    assert "Japanese tweets" in endpoints["/write"]["description"]


def test_a_photo_given_to_gradio_client_is_written_about(client, lion):
    answer = client.predict(handle_file(lion), count=3, tone="大喜利", api_name="/write")
    assert answer["description"] == "幅256の写真"
    assert answer["model"] == "FakeWriter"
    assert [tweet["tone"] for tweet in answer["tweets"]] == ["大喜利"] * 3
    assert answer["tweets"][0].keys() == {"text", "tone", "register", "grounding", "log_likelihood"}


def test_the_seed_that_comes_back_repeats_the_tweets(client, lion):
    first = client.predict(handle_file(lion), api_name="/write")
    assert client.predict(handle_file(lion), seed=first["seed"], api_name="/write") == first
    assert client.predict(handle_file(lion), api_name="/write")["tweets"] != first["tweets"]


def test_plain_http_gets_the_same_by_name_by_position_and_by_every_way_to_name_the_photo(address, lion):
    path = upload(address, lion.read_bytes()).json()[0]
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    ways = [path, file, f"{address}/gradio_api/file={path}", data_url(lion.read_bytes())]
    answers = [call(address, "write", {"photo": way, "seed": 7}) for way in ways]
    answers.append(call(address, "write", [file, 5, None, 1.0, 0.5, 0.9, 7]))
    assert {answer for answer in answers} == {answers[0]}
    assert answers[0][0] == "complete"
    assert json.loads(answers[0][1])[0]["seed"] == 7


def test_describe_says_what_is_in_the_photo(address, lion):
    kind, answer = call(address, "describe", {"photo": data_url(lion.read_bytes())})
    assert (kind, json.loads(answer)) == ("complete", [{"description": "幅256の写真", "model": "FakeWriter"}])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"count": 11}, "count is 11; give a whole number from 1 to 10."),
        ({"count": 2.5}, "count is 2.5; give a whole number from 1 to 10."),
        ({"count": "5"}, "count is '5'; give a whole number from 1 to 10."),
        ({"temperature": 9}, "temperature is 9; give a number from 0.1 to 2.0."),
        ({"guidance": True}, "guidance is True; give a number from 0.0 to 3.0."),
        ({"top_p": None}, "top_p is None; give a number from 0.1 to 1.0."),
        ({"seed": -1}, "seed is -1; give a whole number from 0 to 4294967295."),
        ({"seed": 1e400}, "seed is inf; give a whole number from 0 to 4294967295."),
        ({"tone": "敬語"}, "tone '敬語' is unknown; choose one of つぶやき, ツッコミ,"),
        ({"tone": ["大喜利"]}, "tone ['大喜利'] is unknown; choose one of つぶやき, ツッコミ,"),
        ({"photo": None}, "There is no photo: upload one, or send it as a data: URL in base64."),
        ({"photo": 7}, "There is no photo: upload one, or send it as a data: URL in base64."),
        ({"photo": "data:image/jpeg,abc"}, "The data: URL is not in base64; it starts with data:image/jpeg;base64, "),
        ({"photo": "data:image/jpeg;base64,%%"}, "The data: URL is not in base64; it starts with data:image/jpeg;"),
        ({"photo": "data:image/jpeg;base64,/9j/"}, "The photo is damaged or cut short: download or export it again."),
        ({"photo": "data:image/svg+xml;base64,PHN2Zz4="}, "The photo is an SVG drawing: convert it to JPEG, PNG,"),
        ({"photo": "/etc/passwd"}, "/etc/passwd is no upload of this server, or was deleted after 10 minutes;"),
        ({"photo": "http://127.0.0.1:9/x.jpg"}, "http://127.0.0.1:9/x.jpg is no upload of this server,"),
    ],
)
def test_bad_input_gets_a_sentence_that_names_it(address, lion, changes, sentence):
    photo = data_url(lion.read_bytes())
    body = json.dumps({"photo": photo} | changes).replace("Infinity", "1e400")
    answer = httpx.post(
        f"{address}/gradio_api/call/v2/write", content=body, headers={"Content-Type": "application/json"}
    )
    events = httpx.get(f"{address}/gradio_api/call/write/{answer.json()['event_id']}", timeout=30).text
    error = json.loads(events.partition("event: error\ndata: ")[2])["error"]
    assert error.startswith(sentence)


def test_gradio_client_raises_the_sentence(client, tmp_path, lion):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(lion.read_bytes()[:4000])
    with pytest.raises(AppError, match=r"^The photo is damaged or cut short"):
        client.predict(handle_file(broken), api_name="/write")


def test_an_unknown_or_a_missing_argument_is_named(address):
    assert call(address, "write", {"photo": "x", "colour": 3})[0] == "400"
    assert "colour" in call(address, "write", {"photo": "x", "colour": 3})[1]
    assert "photo" in call(address, "write", {})[1]


@pytest.mark.parametrize("address_elsewhere", ["http://127.0.0.1:9/x.jpg", "https://example.com/cat.jpg"])
def test_an_address_given_as_a_file_is_refused_before_anybody_fetches_it(address, address_elsewhere):
    file = {"path": address_elsewhere, "meta": {"_type": "gradio.FileData"}}
    for arguments in ({"photo": file}, [file], [[{"deep": file}]]):
        status, sentence = call(address, "write", arguments)
        assert status == "400"
        assert "Addresses are not fetched" in sentence


def test_what_comes_back_holds_nothing_of_the_photo_s_file(address, lion):
    """No EXIF, no path: an answer is words and numbers."""
    marked = with_exif(lion.read_bytes(), b"GPS 35.6586N 139.7454E")
    kind, answer = call(address, "write", {"photo": upload(address, marked, "Tokyo Tower.jpg").json()[0]})
    assert kind == "complete"
    assert not any(word in answer for word in ("GPS", "Tokyo", ".jpg", "path"))


def block(language: str, word: str) -> str:
    """Return the code of docs/space.md in a language that has a word in it."""
    blocks = re.findall(
        rf"```{language}\n(.*?)```", (ROOT / "docs" / "space.md").read_text(encoding="utf-8"), re.DOTALL
    )
    return next(code for code in blocks if word in code)


CURL = pytest.param("sh", ["bash", "-e"], marks=pytest.mark.skipif(not shutil.which("curl"), reason="no curl"))


@pytest.mark.parametrize(("language", "command"), [("python", [sys.executable, "-"]), CURL])
def test_what_the_guide_says_of_the_api_works(address, tmp_path, lion, language, command):
    (tmp_path / "cat.jpg").write_bytes(lion.read_bytes())
    code = block(language, "api_name=" if language == "python" else "/gradio_api").replace(
        "http://127.0.0.1:7860", address
    )
    done = subprocess.run(command, input=code, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.replace(r"\u306a\u3046", "なう").count("なう") == 3


def with_exif(jpeg: bytes, content: bytes) -> bytes:
    segment = b"Exif\0\0" + content
    return jpeg[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + jpeg[2:]
