"""The page, through its API and, where there is a Chromium, in a browser."""

import json
import os
import re
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from tests.fake_writer import FakeTweet, FakeWriter
from tweetcap.ui.page import build_page, launch_page
from tweetcap.write.settings import DEFAULTS

# Were it not escaped at the right step, this would change the page's title.
HOSTILE = "<img src=x onerror=\"document.title='owned'\"> ${document.title='owned'} {{tone}} `\\n` 'ねこ' & \"犬\""


class HostileWriter(FakeWriter):
    def write(self, photo, **settings):
        first, *others = super().write(photo, **settings)
        return [FakeTweet(HOSTILE, first.tone, first.log_likelihood, first.grounding), *others]


@pytest.fixture(scope="module")
def uploads(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def address(uploads):
    """The address of a page on this machine, with a fake writer behind it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(uploads))
        page = build_page(HostileWriter())
        _, address, _ = launch_page(page, host="127.0.0.1", prevent_thread_lock=True, quiet=True)
        yield address.rstrip("/")
        page.close(verbose=False)


@pytest.fixture(scope="module")
def client(address):
    return Client(address, verbose=False)


@pytest.fixture
def broken(tmp_path, lion) -> Path:
    path = tmp_path / "broken.jpg"
    path.write_bytes(lion.read_bytes()[:4000])
    return path


def ask(client, photo, **changes):
    controls = {
        "tone": "おまかせ",
        "count": 5,
        "temperature": DEFAULTS.temperature,
        "guidance": DEFAULTS.guidance,
        "top_p": DEFAULTS.top_p,
        "seed": None,
    }
    return client.predict(photo and handle_file(photo), *(controls | changes).values(), api_name="/write")


def call(address, upload) -> str:
    """Call the API as no well-behaved client does; return its stream of events."""
    data = [upload, "おまかせ", 5, 0.8, 0.5, 0.9, None]
    with httpx.Client(base_url=f"{address}/gradio_api/call/write") as http:
        event = http.post("", json={"data": data}).json()["event_id"]
        return http.get(f"/{event}").text


def test_a_photo_gives_its_description_its_tweets_and_the_seed(client, lion):
    description, tweets, seed = ask(client, lion, count=3)
    assert description == "幅256の写真"
    assert [tweet["tone"] for tweet in tweets] == ["つぶやき", "ツッコミ", "アフレコ"]
    assert tweets[0]["text"] == HOSTILE
    assert 0 <= int(seed) < 2**32


def test_the_seed_shown_repeats_the_tweets(client, lion):
    _, tweets, seed = ask(client, lion)
    assert ask(client, lion, seed=int(seed))[1] == tweets
    assert ask(client, lion)[1] != tweets


def test_a_chosen_tone_is_the_tone_of_every_tweet(client, lion):
    assert {tweet["tone"] for tweet in ask(client, lion, tone="大喜利")[1]} == {"大喜利"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"count": 11}, "「本数」は 1 から 10 までの数にしてください(11)。"),
        ({"temperature": 9}, "「まじめ ↔ 暴走」は 0.1 から 2.0 までの数にしてください(9)。"),
        ({"guidance": "<b>"}, "「自由 ↔ 写真に忠実」は 0.0 から 3.0 までの数にしてください(&lt;b&gt;)。"),
        ({"top_p": None}, "「top_p」は 0.1 から 1.0 までの数にしてください(None)。"),
        ({"seed": -1}, "「シード」は 0 から 4294967295 までの整数にしてください(-1)。"),
    ],
)
def test_a_control_out_of_range_is_named_with_its_range(client, lion, changes, sentence):
    with pytest.raises(AppError, match=re.escape(sentence)):
        ask(client, lion, **changes)


def test_no_photo_is_asked_for(client):
    with pytest.raises(AppError, match="写真を入れてください"):
        ask(client, None)


def test_a_broken_photo_is_refused_without_a_path_of_the_server(client, broken):
    with pytest.raises(AppError) as error:
        ask(client, broken)
    assert str(error.value).startswith("The photo is damaged")
    assert "/" not in str(error.value)


@pytest.mark.parametrize("extra", [{"meta": {"_type": "gradio.FileData"}}, {}, {"is_stream": True}])
@pytest.mark.parametrize("climb", [False, True])
def test_a_file_of_the_server_that_nobody_uploaded_is_not_read(address, lion, uploads, extra, climb):
    path = f"{uploads}/../{os.path.relpath(lion, uploads.parent)}" if climb else str(lion)
    assert Path(path).exists()
    answer = call(address, {"path": path, **extra})
    assert answer.startswith("event: error")
    assert "lion" not in answer


def test_an_upload_that_was_deleted_meanwhile_is_asked_for_again(address, uploads):
    answer = call(address, {"path": str(uploads / "gone.jpg")})
    assert answer.startswith("event: error")
    assert "もう一度入れてください" in json.loads(answer.partition("data: ")[2])["error"]


def test_an_upload_over_the_limit_is_refused(address):
    photo = {"files": ("big.jpg", b"\xff\xd8\xff" + bytes(20 * 2**20))}
    assert httpx.post(f"{address}/gradio_api/upload", files=photo).status_code == 413


def test_the_page_reaches_for_nothing_outside_and_offers_no_monitoring(address):
    config = httpx.get(f"{address}/config").json()
    assert config["analytics_enabled"] is False
    assert "fonts.googleapis" not in json.dumps(config)
    assert httpx.get(f"{address}/monitoring/summary").status_code in (403, 404)


@pytest.fixture
def page(browser, address):
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.requests = []
    page.on("request", lambda request: page.requests.append(request.url))
    page.goto(address)
    page.get_by_role("button", name="つぶやきを書く").wait_for()
    yield page
    context.close()


def test_in_a_browser_an_upload_shows_its_tweets_as_plain_text(page, lion, address):
    page.set_input_files("input[type=file]", lion)
    tweets = page.locator(".tweets p")
    tweets.first.wait_for()
    assert tweets.count() == DEFAULTS.count
    assert tweets.first.text_content() == HOSTILE
    assert page.title() == "tweetcap"
    assert page.get_by_label("説明").input_value() == "幅256の写真"
    assert [url for url in page.requests if not url.startswith((address, "blob:", "data:"))] == []


def test_in_a_browser_a_tweet_is_copied_whole(page, lion):
    page.set_input_files("input[type=file]", lion)
    page.locator(".tweets button").first.click()
    page.get_by_text("コピーしました").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == HOSTILE


def test_in_a_browser_the_examples_work_and_the_button_writes_again(page):
    page.locator(".gallery-item").nth(1).click()
    second = page.locator(".tweets p").nth(1)
    before = second.text_content()
    page.get_by_role("button", name="つぶやきを書く").click()
    page.wait_for_function("before => document.querySelectorAll('.tweets p')[1].textContent != before", arg=before)
    assert second.text_content() != before


def test_in_a_browser_a_broken_upload_shows_its_sentence(page, broken):
    page.locator(".gallery-item").first.click()
    page.locator(".tweets li").first.wait_for()
    page.get_by_label("Remove Image").click()
    page.locator(".tweets li").first.wait_for(state="detached")
    page.set_input_files("input[type=file]", broken)
    page.get_by_text("The photo is damaged or cut short").wait_for()
    assert page.locator(".tweets li").count() == 0
