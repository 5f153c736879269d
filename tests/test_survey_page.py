"""The questionnaire's page: through its calls, killed in the middle of everything, and in a browser."""

import hashlib
import json
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.made_study import make_photos, make_study, prediction, write_rows
from tweetcap.evaluate.survey.new_study import Source, create_study
from tweetcap.evaluate.survey.ratings import RATINGS_FILE, RatingStore, export_ratings
from tweetcap.ui.survey_page import launch_survey

HOSTILE = "<img src=x onerror=\"document.title='owned'\"> ${document.title='owned'} {{value}} `\\n` </script>\u202e"
SCORES = {"natural": 5, "fits": 4, "funny": 2, "like": 1}
RATERS = 35


def serve(folder: Path):
    """Return a served study's page and address."""
    page = launch_survey(folder, "127.0.0.1", free_port(), prevent_thread_lock=True, quiet=True)
    return page, page.local_url.rstrip("/")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Caller:
    """Calls the page's functions as its script does."""

    def __init__(self, address: str):
        self.http = httpx.Client(base_url=address, timeout=30)
        components = self.http.get("/config").json()["components"]
        self.component = next(part["id"] for part in components if part["type"] == "html")

    def post(self, name: str, data) -> httpx.Response:
        body = {"data": data, "component_id": self.component, "fn_name": name, "session_hash": "test"}
        return self.http.post("/gradio_api/component_server/", json=body)

    def __call__(self, name: str, **data):
        answer = self.post(name, data)
        answer.raise_for_status()
        return answer.json()


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("secretfolder")
    make_study(folder, photos=4, attention=1)
    return folder / "study"


@pytest.fixture(scope="module")
def address(study):
    page, address = serve(study)
    yield address
    page.close(verbose=False)


@pytest.fixture(scope="module")
def call(address) -> Caller:
    return Caller(address)


def test_a_rater_is_led_from_consent_to_thanks(call):
    assert call("open_survey", token=None) == {"screen": "start"}
    view = call("start_survey", language="en")
    token = view["token"]
    for position in range(1, 6):
        assert (view["screen"], view["position"], view["total"]) == ("task", position, 5)
        assert ("instruction" in view) != bool(view["texts"])
        view = call("give_answer", token=token, position=position, values=SCORES, language="en")
    assert view["screen"] == "done"
    assert view["code"] == call("open_survey", token=token)["code"]


def test_an_unknown_link_leads_to_the_start(call):
    assert call("open_survey", token="nobody") == {"screen": "start"}


def test_a_start_that_is_asked_for_again_lets_in_no_second_rater(call, study):
    with closing(RatingStore(study)) as store:
        before = len(store.raters())
        token = secrets.token_urlsafe(24)
        assert call("start_survey", token=token) == call("start_survey", token=token)
        assert len(store.raters()) == before + 1
    assert call("start_survey", token="short") == {"problem": "refused"}


def test_a_stale_or_doubled_answer_only_shows_where_the_rater_is(call):
    token = call("start_survey", language="ja")["token"]
    first = call("give_answer", token=token, position=1, values=SCORES)
    again = call("give_answer", token=token, position=1, values=dict.fromkeys(SCORES, 3))
    assert (first["taken"], again["taken"]) == (True, False)
    assert first | {"taken": None} == again | {"taken": None}


@pytest.mark.parametrize("name", ["open_survey", "start_survey", "give_answer"])
@pytest.mark.parametrize("data", [None, [], "x", 7, {"token": {"a": 1}}, {"token": 3, "position": [], "values": "x"}])
def test_nonsense_gets_neither_an_error_nor_a_trace(call, name, data):
    answer = call.post(name, data)
    assert answer.status_code == 200
    assert answer.json().get("screen") or answer.json()["problem"] in ("refused", "unknown")
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("name", ["__init__", "postprocess", "push_to_hub", "get_config", "give_answer.__globals__"])
def test_nothing_but_the_three_functions_can_be_called(call, name):
    assert call.post(name, {}).status_code == 404


def photo_of(call) -> str:
    return call("start_survey", language="ja")["photo"]


def test_photos_are_served_and_nothing_else_of_the_study_is(call, study):
    photo = photo_of(call)
    answer = call.http.get(f"/{photo}")
    assert answer.content == (study / photo).read_bytes()
    assert answer.headers["content-type"] == "image/jpeg"
    assert "last-modified" not in answer.headers
    names = ["study.json", "systems.json", "ratings.sqlite3", "ratings.sqlite3-wal"]
    routes = ["/", "/photos/", "/photos/../", "/photos/..%2f", "/photos/%2e%2e/", "/gradio_api/file=", "/static/../"]
    routes += [f"/photos/{study}/", f"/gradio_api/file={study}/", f"/file={study}/", f"/assets/{study}/"]
    routes += ["/gradio_api/file=photos/../", f"/gradio_api/proxy=file://{study}/", f"/static/..{study}/"]
    for route in routes:
        for name in names:
            answer = raw_get(call.http.base_url, route + name)
            assert answer.split(b" ")[1] in (b"403", b"404"), route + name
            assert b"secret" not in answer


def raw_get(base, path: str) -> bytes:
    """Get a path as it stands; well-behaved clients take .. away."""
    with socket.create_connection((base.host, base.port)) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {base.host}\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(
    "path", ["/gradio_api/info", "/openapi.json", "/docs", "/monitoring", "/gradio_api/queue/join", "/gradio_api/runs"]
)
def test_gradio_s_other_doors_are_shut(call, path):
    assert call.http.get(path).status_code == 404
    assert call.http.post(path, json={}).status_code == 404


def test_nothing_can_be_uploaded_and_large_requests_are_refused(call):
    assert call.http.post("/gradio_api/upload", files={"files": ("a.jpg", b"x")}).status_code == 404
    assert call.post("give_answer", {"values": "x" * 70_000}).status_code == 413
    body = iter([b'{"values": "', *[b"x" * 10_000] * 7, b'"}'])  # in chunks, which tell no length
    assert call.http.post("/gradio_api/component_server", content=body).status_code == 413


def test_the_link_is_not_passed_on_and_the_page_is_not_indexed(call):
    headers = call.http.get("/").headers
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-robots-tag"] == "noindex"


def test_nothing_that_is_sent_tells_the_systems_apart(call, study):
    config = call.http.get("/config").text
    sent = [config, call.http.get("/").text]
    for _ in range(3):
        view = call("start_survey", language="ja")
        token = view["token"]
        for position in range(1, 6):
            assert view.keys() <= VIEW
            sent.append(json.dumps(view, ensure_ascii=False))
            sent.append(call.http.get("/" + view["photo"]).content.decode("latin-1"))
            view = call("give_answer", token=token, position=position, values=SCORES)
    assert_blind("\n".join(sent), study)


VIEW = {
    *("screen", "position", "total", "photo", "width", "height", "texts"),
    *("next_photo", "instruction", "token", "taken"),
}


def assert_blind(sent: str, study: Path) -> None:
    """Assert that no system's name, path, photo's id, file's name, kind or seed is in what was sent."""
    for secret in ("secret", str(study), "systems.json", "p000", '"gold', '"attention', '"kind', '"seed'):
        assert secret not in sent, secret


def test_a_closed_study_says_so(tmp_path):
    make_study(tmp_path)
    page, address = serve(tmp_path / "study")
    try:
        call = Caller(address)
        token = call("start_survey", language="ja")["token"]
        RatingStore(tmp_path / "study").set_closed(True)  # as `tweetcap survey close` does, from another process
        assert call("open_survey", token=None) == {"screen": "closed"}
        assert call("open_survey", token=token) == {"screen": "closed"}
        assert call("give_answer", token=token, position=1, values=SCORES) == {"screen": "closed"}
        assert call("start_survey", language="ja") == {"screen": "closed"}
    finally:
        page.close(verbose=False)


# Killed in the middle


class Server:
    """`tweetcap survey serve` in a process of its own."""

    def __init__(self, study: Path):
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        # A shell has what it starts in the background ignore Ctrl-C, and the tests may be such.
        heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        self.command = [sys.executable, "-c", heed + "from tweetcap.commands.survey import app; app()"]
        self.command += ["serve", str(study), "--port", str(self.port)]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while not (line := self.process.stderr.readline()).startswith("Each rater starts there"):
            assert line, f"the server ended with {self.process.wait()}"

    def stop(self, by: signal.Signals) -> tuple[int, str]:
        """Return the exit code and what the server said last."""
        self.process.send_signal(by)
        _, errors = self.process.communicate()
        return self.process.returncode, errors


def persist(call):
    """Return what a call returns once there is a server to answer it."""
    while True:
        try:
            return call()
        except httpx.TransportError:
            time.sleep(0.5)


def rate_to_the_end(address: str, number: int, acknowledged: list) -> str:
    """Rate as one rater; note each answer as `kept_answers` has it, once the server has said that it is kept."""
    caller = persist(lambda: Caller(address))
    token = secrets.token_urlsafe(24)
    view = persist(lambda: caller("start_survey", language="ja", token=token))
    rater = hashlib.sha256(token.encode()).hexdigest()
    while view["screen"] == "task":
        position, score = view["position"], (number + view["position"]) % 5 + 1
        values = dict.fromkeys(SCORES, score)
        view = persist(lambda: caller("give_answer", token=token, position=position, values=values))  # noqa: B023
        acknowledged.append((rater, position, score))
    assert view["screen"] == "done"
    return rater


def test_a_server_killed_while_35_raters_answer_has_lost_nothing_and_ctrl_c_ends_with_a_sentence(tmp_path):
    make_study(tmp_path, photos=6, attention=0, raters=RATERS)
    server, acknowledged = Server(tmp_path / "study"), []
    try:
        with ThreadPoolExecutor(RATERS) as pool:
            raters = [pool.submit(rate_to_the_end, server.address, n, acknowledged) for n in range(RATERS)]
            while len(acknowledged) < 70:
                time.sleep(0.005)
            server.stop(signal.SIGKILL)
            assert set(acknowledged) <= set(kept_answers(tmp_path / "study"))
            assert not all(rater.done() for rater in raters)
            server.start()
            raters = [rater.result() for rater in raters]
    finally:
        code, sentence = server.stop(signal.SIGINT)
    assert code == 130
    assert (
        sentence
        == f"tweetcap: stopped; all answers are in {tmp_path / 'study'}. Run the same command again to go on.\n"
    )
    kept = kept_answers(tmp_path / "study")
    assert set(acknowledged) <= set(kept)
    assert Counter(rater for rater, *_ in kept) == dict.fromkeys(raters, 6)
    assert len(kept) == len(set(kept))
    ratings = export_ratings(tmp_path / "study")
    assert not ratings.duplicated(["rater", "position", "question"]).any()
    shown = ratings[ratings["question"] == "like"].groupby(["item", "system"]).size()
    assert set(shown) == {11, 12}  # 35 raters to three systems


def kept_answers(folder: Path) -> list[tuple[str, int, int]]:
    """Return (hash of the token, position, score) of each answer in the database."""
    with closing(sqlite3.connect(folder / RATINGS_FILE)) as database:
        return database.execute(
            "SELECT token_hash, position, value FROM answers JOIN raters USING (rater) WHERE question = 'like'"
        ).fetchall()


# In a browser


@pytest.fixture
def new_rater(browser):
    """Return what opens the page as somebody new, on a phone, with all that the browser receives in `received`."""
    contexts = []

    def open_page(address: str, **options):
        context = browser.new_context(viewport={"width": 360, "height": 740}, locale="ja-JP", **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.received = []
        page.on("response", lambda response: page.received.append(response))
        page.on("pageerror", lambda error: pytest.fail(f"error in the page: {error}"))
        page.goto(address)
        page.locator("h1").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()


def begin(page) -> None:
    page.get_by_role("button", name="同意して始める").click()
    page.locator("fieldset").first.wait_for()


def position(page) -> str:
    return page.locator("h1").text_content()


def press_next(page) -> None:
    page.get_by_role("button", name="次へ").click()


def wait_for_change(page, before: str) -> None:
    page.wait_for_function("before => document.querySelector('h1').textContent !== before", arg=before)


def answer(page) -> None:
    """Answer the item that is shown, on the keyboard, and wait for the next."""
    before = position(page)
    page.wait_for_function("document.querySelector('figure img').naturalWidth > 0")  # unseen, it can't be answered
    page.keyboard.type("4444")
    page.keyboard.press("Enter")
    wait_for_change(page, before)


def tick(page) -> None:
    for group in page.locator("fieldset").all():
        group.get_by_role("radio").nth(3).check()


def link_of(page) -> str:
    page.get_by_text("あとで続きから答える").click()
    return page.get_by_label("続きから答えるためのリンク").input_value()


def test_in_a_browser_raters_rate_at_once_and_one_closes_the_page_and_comes_back_by_the_link(new_rater, address, study):
    before = len(kept_answers(study))
    pages = [new_rater(address) for _ in range(3)]
    for page in pages:
        begin(page)
    for _ in range(2):
        places = [position(page) for page in pages]
        for page in pages:
            tick(page)
        for page in pages:
            press_next(page)
        for page, place in zip(pages, places, strict=True):
            wait_for_change(page, place)
    link = link_of(pages[0])
    photo = pages[0].locator("img").get_attribute("src")
    pages[0].context.close()

    pages[0] = new_rater(link)  # another browser, which has nothing but the link
    assert position(pages[0]) == "3 / 5"
    assert pages[0].locator("img").get_attribute("src") == photo
    assert "rater=" not in pages[0].url  # whoever shares the address doesn't share the place
    for _ in range(3):
        for page in pages:
            answer(page)
    codes = {page.get_by_label("完了コード").input_value() for page in pages}
    assert len(codes) == 3
    assert len(kept_answers(study)) == before + 3 * 5


def test_in_a_browser_nothing_received_tells_the_systems_apart(new_rater, address, study):
    page = new_rater(address)
    begin(page)
    received = []
    for _ in range(5):
        received.append(page.content())
        answer(page)
    for response in page.received:
        assert response.url.startswith((address, "data:", "blob:"))
        received += [response.url, json.dumps(response.all_headers()), response.body().decode("latin-1")]
    assert sum("/photos/" in response.url for response in page.received) >= 4
    # The script's own words for its screens are the same for everybody; systems, files and ids are not.
    assert_blind("\n".join(received), study)


def test_in_a_browser_reload_back_and_a_second_tab_do_no_harm(new_rater, address):
    page = new_rater(address)
    begin(page)
    answer(page)
    page.locator("fieldset").first.get_by_role("radio").nth(2).check()
    photo = page.locator("img").get_attribute("src")
    page.reload()
    page.locator("fieldset").first.wait_for()
    assert position(page) == "2 / 5"
    assert page.locator("img").get_attribute("src") == photo
    assert page.locator("fieldset").first.get_by_role("radio").nth(2).is_checked()  # ticked, not sent, not lost

    page.goto("about:blank")
    page.go_back()
    page.locator("fieldset").first.wait_for()
    assert position(page) == "2 / 5"

    other = page.context.new_page()
    other.goto(address)
    other.locator("fieldset").first.wait_for()
    assert position(other) == "2 / 5"
    answer(other)
    answer(page)  # the same item again: it counts once
    assert position(page) == position(other) == "3 / 5"
    assert "別の画面で回答済み" in page.get_by_role("alert").text_content()


def test_in_a_browser_a_missing_answer_is_named_and_nothing_is_sent(new_rater, address):
    page = new_rater(address)
    begin(page)
    page.locator("fieldset").first.get_by_role("radio").nth(2).check()
    press_next(page)
    assert page.get_by_role("alert").text_content() == "「写真に合っていますか？」に答えてください。"
    assert page.evaluate("document.activeElement.name") == "fits"
    assert position(page) == "1 / 5"


def test_in_a_browser_the_keyboard_and_names_for_screen_readers_suffice(new_rater, address):
    page = new_rater(address)
    page.get_by_role("button", name="同意して始める").press("Enter")
    group = page.get_by_role("group", name="日本語として自然ですか？")
    group.get_by_role("radio", name="1: 不自然").focus()
    page.keyboard.press("ArrowRight")
    assert group.get_by_role("radio", name="2", exact=True).is_checked()
    page.keyboard.press("5")  # digits tick, and go on to the next question
    assert group.get_by_role("radio", name="5: 自然").is_checked()
    for digit in "432":
        page.keyboard.press(digit)
    assert page.locator("input:checked").evaluate_all("inputs => inputs.map(input => input.value)") == list("5432")
    assert page.get_by_role("img", name="評価する写真").count() == 1
    page.keyboard.press("Enter")
    wait_for_change(page, "1 / 5")
    assert page.evaluate("document.activeElement.textContent") == "2 / 5"
    assert page.evaluate("window.scrollY") < 40


def test_in_a_browser_the_language_is_the_browser_s_until_it_is_switched(new_rater, address):
    page = new_rater(address)
    assert page.evaluate("document.documentElement.lang") == "ja"
    page.get_by_role("button", name="English").click()
    assert page.title() == "Photos and words: a questionnaire"
    page.get_by_role("button", name="I agree: start").click()
    page.get_by_role("group", name="Is the text funny?").get_by_role("radio").nth(3).check()
    page.get_by_role("button", name="日本語").click()
    assert page.get_by_role("group", name="おもしろいですか？").get_by_role("radio").nth(3).is_checked()
    page.reload()
    page.get_by_role("group", name="おもしろいですか？").wait_for()


def test_in_a_browser_the_next_person_on_the_device_starts_anew(new_rater, address):
    page = new_rater(address)
    begin(page)
    for _ in range(5):
        answer(page)
    page.reload()
    page.get_by_label("完了コード").wait_for()
    page.get_by_role("button", name="この端末で別の人が答える").click()
    begin(page)
    assert position(page) == "1 / 5"


def test_in_a_browser_an_unknown_link_says_so_and_lets_the_rater_start(new_rater, address):
    page = new_rater(f"{address}/?rater=nobody")
    assert "このリンクは見つかりませんでした" in page.get_by_role("alert").text_content()
    begin(page)


def test_in_a_browser_a_lost_connection_keeps_what_is_ticked_and_goes_on_after_it(new_rater, address):
    page = new_rater(address)
    begin(page)
    tick(page)
    page.context.set_offline(True)
    press_next(page)
    page.get_by_text("つながりませんでした。選んだ答えは残っています").wait_for()
    assert page.locator("input:checked").count() == 4
    page.context.set_offline(False)
    press_next(page)
    wait_for_change(page, "1 / 5")
    assert position(page) == "2 / 5"


def test_in_a_browser_an_impatient_rater_waits_out_the_minimum_time_and_a_hostile_text_stays_text(new_rater, tmp_path):
    names = make_photos(tmp_path / "photos", 2)
    rows = [prediction(name, HOSTILE) for name in names]
    sources = [Source(name, write_rows(tmp_path / f"{name}.jsonl", rows)) for name in ("one", "two")]
    options = {"mode": "pairwise", "attention": 0, "minimum_seconds": 1.5, "raters": 1}
    create_study(tmp_path / "photos", sources, tmp_path / "study", **options)
    page, address = serve(tmp_path / "study")
    try:
        rater = new_rater(address)
        begin(rater)
        assert rater.locator(".words").all_text_contents() == [HOSTILE, HOSTILE]
        assert rater.locator(".name").all_text_contents() == ["A", "B"]
        for choice in ("A", "同じくらい"):
            before = position(rater)
            rater.get_by_role("radio", name=choice).check()
            press_next(rater)
            wait_for_change(rater, before)
        assert rater.title() == "写真とことばのアンケート"
        assert "必要な人数に達した" in new_rater(address).locator(".message").text_content()
    finally:
        page.close(verbose=False)
    ratings = export_ratings(tmp_path / "study")
    assert list(ratings["choice"]) == ["left", "tie"]
    assert (ratings["seconds"] >= 1.5).all()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser_a_phone_s_page_never_scrolls_sideways_and_can_be_read(new_rater, address, scheme):
    page = new_rater(address, color_scheme=scheme)
    begin(page)
    page.get_by_text("あとで続きから答える").click()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.evaluate(SMALLEST_TARGET) >= 40
    assert page.evaluate(LOWEST_CONTRAST) >= 4.5


# Of what is tapped: the smaller side in pixels, and of all texts: the contrast by WCAG 2.
SMALLEST_TARGET = """() => Math.min(...[...document.querySelectorAll('.options label, .main')]
    .map(node => node.getBoundingClientRect()).map(box => Math.min(box.width, box.height)))"""
LOWEST_CONTRAST = """() => {
    const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const pixel = (...colours) => {
        canvas.clearRect(0, 0, 1, 1);
        for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const light = rgb => rgb.map(part => part / 255)
        .map(part => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
        .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
    const ratio = node => {
        const behind = [];
        for (let up = node; up; up = up.parentElement) behind.unshift(getComputedStyle(up).backgroundColor);
        const back = pixel('white', ...behind);
        const text = pixel(`rgb(${back})`, getComputedStyle(node).color);
        const [dark, bright] = [light(back), light(text)].sort((a, b) => a - b);
        return (bright + 0.05) / (dark + 0.05);
    };
    const texts = [...document.querySelectorAll('.survey *')].filter(node =>
        [...node.childNodes].some(child => child.nodeType === 3 && child.textContent.trim()));
    return Math.min(...texts.map(ratio));
}"""
