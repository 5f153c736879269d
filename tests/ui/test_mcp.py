"""The page as an MCP server, through a real client's session."""

import base64
import json

import anyio
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from tests.fake_writer import FakeWriter
from tests.ui.served import served, upload
from tweetcap.ui.uploads import Uploads


@pytest.fixture(scope="module")
def uploads(tmp_path_factory):
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def address(uploads):
    with served(FakeWriter(), uploads) as address:
        yield address


def ask(address: str, work):
    """Return what `work(session)` returns."""

    async def session():
        async with (
            streamable_http_client(f"{address}/gradio_api/mcp/") as (reading, writing, _),
            ClientSession(reading, writing) as session,
        ):
            await session.initialize()
            return await work(session)

    return anyio.run(session)


def call(address: str, tool: str, **arguments):
    return ask(address, lambda session: session.call_tool(tool, arguments))


def test_there_are_two_tools_which_say_what_they_take(address):
    tools = {tool.name: tool for tool in ask(address, lambda session: session.list_tools()).tools}
    assert set(tools) == {"write", "describe"}
    assert "Japanese tweets" in tools["write"].description
    schema = tools["write"].inputSchema
    assert schema["required"] == ["photo"]
    assert all(part["description"] for part in schema["properties"].values())
    assert {"enum": ["つぶやき", "ツッコミ", "アフレコ", "ほっこり", "大喜利"]} in schema["properties"]["tone"]["oneOf"]
    assert schema["properties"]["temperature"]["description"] == "0.1 (plain) to 2.0 (wild)."


def test_nothing_else_is_offered(address):
    assert ask(address, lambda session: session.list_resources()).resources == []
    assert ask(address, lambda session: session.list_prompts()).prompts == []


def test_a_photo_in_base64_is_written_about_in_json(address, uploads, lion):
    photo = "data:image/jpeg;base64," + base64.b64encode(lion.read_bytes()).decode()
    before = set(uploads.rglob("*"))
    answer = call(address, "write", photo=photo, count=2, tone="ほっこり")
    assert not answer.isError
    (content,) = answer.content
    written = json.loads(content.text)
    assert [tweet["tone"] for tweet in written["tweets"]] == ["ほっこり", "ほっこり"]
    assert written["description"] == "幅256の写真"
    assert set(uploads.rglob("*")) == before  # such a photo is never on the disk


def test_an_upload_is_written_about_by_its_address(address, lion):
    (path,) = upload(address, lion.read_bytes()).json()
    answer = call(address, "describe", photo=f"{address}/gradio_api/file={path}")
    assert json.loads(answer.content[0].text)["description"] == "幅256の写真"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"photo": "data:image/jpeg;base64,/9j/"}, "The photo is damaged or cut short: download or export it again."),
        ({"photo": "data:image/jpeg;base64,/9j/", "count": 11}, "count is 11; give a whole number from 1 to 10."),
        (
            {"photo": "http://169.254.169.254/latest"},
            "http://169.254.169.254/latest is no upload of this server, or was",
        ),
        ({"photo": "file:///etc/passwd"}, "file:///etc/passwd is no upload of this server, or was deleted after"),
        ({"photo": {"path": "/etc/passwd"}}, "Input validation error"),
        ({"photo": "data:,", "tone": "敬語"}, "Input validation error"),
        ({}, "Input validation error: 'photo' is a required property"),
    ],
)
def test_bad_input_gets_its_sentence(address, arguments, sentence):
    answer = call(address, "write", **arguments)
    assert answer.isError
    assert answer.content[0].text.startswith(sentence)


def test_an_upload_that_was_swept_is_asked_for_again(address, uploads, lion, monkeypatch):
    (path,) = upload(address, lion.read_bytes()).json()
    monkeypatch.setattr("tweetcap.ui.uploads.KEEP_SECONDS", -1)
    Uploads(uploads).sweep()
    answer = call(address, "describe", photo=path)
    assert "was deleted after" in answer.content[0].text
