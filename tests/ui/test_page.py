"""The writer's page in a browser: from the photo to a tweet that is copied, posted, questioned."""

import json
import re
import threading
import urllib.parse

import pytest

from tests.fake_writer import FakeTweet, FakeWriter
from tests.ui.served import served
from tweetcap.ui.answers import COMPARED
from tweetcap.ui.texts import TEXTS
from tweetcap.write.filters import weighted_length
from tweetcap.write.settings import DEFAULTS

JA, EN = TEXTS["ja"], TEXTS["en"]
# Were it not escaped at the right step, this would change the page's title.
HOSTILE = "<img src=x onerror=\"document.title='owned'\"> ${document.title='owned'} {{tone}} `\\n` 'ねこ' & \"犬\""


class PacedWriter(FakeWriter):
    """Waits after each draft while `go` isn't set; writes what `text` says first; fails while `broken`."""

    def __init__(self):
        super().__init__()
        self.go = threading.Event()
        self.reset()

    def reset(self):
        self.go.set()
        self.text = None
        self.broken = False

    def write(self, photo, **settings):
        if self.broken:
            raise RuntimeError("a secret of the server")
        first, *others = super().write(photo, **settings)
        text = self.text or first.text
        return [FakeTweet(text, first.tone, first.log_likelihood, 6.0), *others]

    def stream(self, photo, **settings):
        for piece in super().stream(photo, **settings):
            yield piece
            assert self.go.wait(20), "the test forgot to let the writer go on"


class Notes:
    """Takes likes and reports."""

    def __init__(self):
        self.taken = []

    def like(self, record, session):
        self.taken.append(("like", record, session))

    def report(self, record, session):
        self.taken.append(("report", record, session))


@pytest.fixture(scope="module")
def paced() -> PacedWriter:
    return PacedWriter()


@pytest.fixture(scope="module")
def notes() -> Notes:
    return Notes()


@pytest.fixture(scope="module")
def address(paced, notes, tmp_path_factory):
    with served(paced, tmp_path_factory.mktemp("uploads"), notes) as address:
        yield address


@pytest.fixture
def open_page(browser, address, paced, notes):
    """Open the page in a browser of its own; further settings go to its context."""
    paced.reset()
    notes.taken.clear()
    contexts = []

    def open_page(locale="ja-JP", **settings):
        context = browser.new_context(locale=locale, permissions=["clipboard-read", "clipboard-write"], **settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.problems, page.requests = [], []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("console", lambda message: page.problems.append(message.text) if "callback" in message.text else None)
        page.on("request", lambda request: page.requests.append(request.url))
        page.goto(address)
        page.locator("button.primary").wait_for()
        page.locator("button.gallery-item[aria-label]").first.wait_for()
        return page

    yield open_page
    paced.go.set()
    for context in contexts:
        problems = [problem for page in context.pages for problem in page.problems]
        context.close()
        assert problems == []


def put_in(page, photo, cards=DEFAULTS.count) -> None:
    """Put a photo in and wait until everything about it is written."""
    page.set_input_files("input[type=file]", photo)
    wait_for_cards(page, cards)


def wait_for_cards(page, cards=DEFAULTS.count) -> None:
    page.wait_for_function(
        """cards => document.querySelector('.description q')
            && document.querySelectorAll('.groups .card').length == cards""",
        arg=cards,
    )


def texts(page) -> list[str]:
    return page.locator(".groups .card .text").all_text_contents()


def act(page, name: str, card: int = 0) -> None:
    page.locator(".groups .card").nth(card).get_by_label(name, exact=True).click()


def press(page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def control(page, label: str):
    """Return the number beside a slider, or alone."""
    return page.get_by_label(label).and_(page.locator("input[type=number]"))


def post_link(page, card: int = 0) -> str:
    """Return the text that X's window would be opened with."""
    link = page.locator(".groups .card").nth(card).locator("a.post")
    assert link.get_attribute("target") == "_blank"
    assert "noopener" in link.get_attribute("rel")
    address = urllib.parse.urlsplit(link.get_attribute("href"))
    assert (address.scheme, address.netloc, address.path) == ("https", "x.com", "/intent/post")
    return urllib.parse.parse_qs(address.query, strict_parsing=True)["text"][0]


# --- From the photo to the cards ---


def test_a_photo_becomes_cards_and_nothing_is_fetched_from_elsewhere(open_page, lion, address):
    page = open_page()
    put_in(page, lion)
    assert len(texts(page)) == DEFAULTS.count
    assert page.locator(".groups .tone").all_text_contents() == [
        "つぶやき",
        "ツッコミ",
        "アフレコ",
        "ほっこり",
        "大喜利",
    ]
    assert page.locator(".fit").all_text_contents()[:2] == [JA["fit_well"], JA["fit_free"]]
    assert page.locator(".description q").text_content() == "幅256の写真"
    assert [url for url in page.requests if not url.startswith((address, "blob:", "data:"))] == []


def test_the_first_tweet_is_seen_while_it_is_written_and_only_the_end_is_announced(open_page, paced, lion):
    page = open_page()
    paced.go.clear()
    page.set_input_files("input[type=file]", lion)
    page.locator(".draft .tone").wait_for()
    draft = page.locator(".draft .text").text_content()
    assert (len(draft), page.locator(".groups").get_attribute("aria-busy")) == (3, "true")
    assert page.locator(".news").text_content() == ""
    paced.go.set()
    wait_for_cards(page)
    assert texts(page)[0].startswith(draft)
    assert page.locator(".news").text_content() == JA["done"].format(count=5) + " " + texts(page)[0]


def test_a_tweet_stays_text_whatever_is_in_it(open_page, paced, lion):
    page = open_page()
    paced.text = HOSTILE
    put_in(page, lion)
    assert texts(page)[0] == HOSTILE
    assert page.title() == JA["title"]
    act(page, JA["copy"])
    page.get_by_text(JA["copied"]).first.wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == HOSTILE
    assert post_link(page) == HOSTILE


def test_an_example_is_a_photo_too_and_taking_it_away_clears_the_page(open_page):
    page = open_page()
    page.get_by_label(JA["example"].format(number=2)).click()
    wait_for_cards(page)
    page.get_by_label(JA["photo_buttons"]["Remove Image"]).click()
    page.get_by_text(JA["empty"]).wait_for()
    assert texts(page) == []


def test_a_broken_photo_and_none_get_their_sentence_near_the_photo(open_page, lion, tmp_path):
    page = open_page()
    press(page, JA["write"])
    page.get_by_text(JA["no_photo"]).wait_for()
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(lion.read_bytes()[:4000])
    page.set_input_files("input[type=file]", broken)
    page.get_by_role("alert").get_by_text("写真がこわれているか").wait_for()
    assert texts(page) == []
    page.get_by_label(JA["photo_buttons"]["Remove Image"]).click()
    drawing = tmp_path / "drawing.svg"
    drawing.write_text("<svg")  # no browser can show it, and it has no height of its own
    page.set_input_files("input[type=file]", drawing)
    page.get_by_role("alert").get_by_text("この形式の写真は読めません").wait_for()
    page.get_by_label(JA["photo_buttons"]["Remove Image"]).click()
    page.get_by_text(JA["empty"]).wait_for()


@pytest.mark.parametrize("by_button", [True, False])
def test_a_photo_is_pasted_by_button_and_by_keys(open_page, by_button):
    page = open_page()
    page.evaluate(
        """async () => {
            const canvas = Object.assign(document.createElement('canvas'), {width: 300, height: 200});
            canvas.getContext('2d').fillRect(0, 0, 150, 200);
            const photo = await new Promise(resolve => canvas.toBlob(resolve));
            await navigator.clipboard.write([new ClipboardItem({'image/png': photo})]);
        }"""
    )
    if by_button:
        page.get_by_label(JA["photo_buttons"]["Paste from clipboard"]).click()
    else:
        page.keyboard.press("Control+V")
    wait_for_cards(page)
    assert page.locator(".description q").text_content() == "幅300の写真"


def test_without_a_network_the_cards_stay_and_say_so(open_page, lion):
    page = open_page()
    put_in(page, lion)
    before = texts(page)
    page.context.set_offline(True)
    press(page, JA["write"])
    page.locator(".show > .problem").get_by_text(JA["lost"]).wait_for()
    act(page, JA["reroll"])
    page.locator(".card .problem").get_by_text(JA["lost"]).wait_for()
    page.context.set_offline(False)
    act(page, JA["reroll"], 1)
    page.wait_for_function("text => document.querySelectorAll('.groups .text')[1].textContent != text", arg=before[1])
    assert texts(page)[2:] == before[2:]


def test_a_full_line_is_told_once_and_near_the_photo(open_page, lion):
    page = open_page()
    put_in(page, lion)
    sentence = JA["busy"].format(waiting=32)
    page.route("**/queue/join*", lambda route: route.fulfill(status=429, json={"detail": sentence}))
    press(page, JA["write"])
    page.locator(".show > .problem").get_by_text(sentence).wait_for()
    page.locator(".toast-body").wait_for(state="detached")
    act(page, JA["why"])
    page.locator(".card .problem").get_by_text(sentence).wait_for()


def test_an_error_nobody_foresaw_is_a_sentence_and_the_page_goes_on(open_page, paced, lion):
    page = open_page()
    put_in(page, lion)
    paced.broken = True
    act(page, JA["reroll"])
    page.locator(".card .problem").get_by_text(JA["lost"]).wait_for()
    press(page, JA["write"])
    page.locator(".show > .problem").get_by_text(JA["lost"]).wait_for()
    assert "secret" not in page.content()
    paced.broken = False
    press(page, JA["write"])
    wait_for_cards(page)


# --- Controls ---


def test_the_sliders_change_the_outcome_and_one_seed_repeats_it(open_page, lion, paced):
    page = open_page()
    page.get_by_role("button", name=JA["details"]).click()
    control(page, JA["seed"]).fill("11")
    put_in(page, lion)
    first = texts(page)
    control(page, JA["temperature"]).fill("1.5")
    control(page, JA["temperature"]).press("Tab")
    control(page, JA["count"]).fill("4")
    control(page, JA["count"]).press("Tab")
    press(page, JA["write"])
    wait_for_cards(page, 4)
    assert texts(page) != first[:4]
    count, _, temperature, _, _, seed, _ = paced.calls[-1]
    assert (count, temperature, seed) == (4, 1.5, 11)
    press(page, JA["preset_usual"])
    control(page, JA["count"]).fill("5")
    control(page, JA["count"]).press("Tab")
    press(page, JA["write"])
    wait_for_cards(page, 5)
    assert texts(page) == first


def test_the_seed_that_was_used_can_be_kept_and_a_dice_rolls_another(open_page, lion, paced):
    page = open_page()
    put_in(page, lion)
    before = texts(page)
    seed = int(re.search(r"\d+", page.locator(".seed span").text_content()).group())
    press(page, JA["seed_keep"])
    page.get_by_role("button", name=re.compile(f"^{JA['details']}")).click()
    kept = control(page, JA["seed"])
    page.wait_for_function("([input, seed]) => input.value == seed", arg=[kept.element_handle(), seed])
    press(page, JA["write"])
    page.locator(".seed").get_by_text(JA["seed_keep"]).wait_for()
    assert texts(page) == before
    press(page, JA["dice"])
    page.wait_for_function("([input, seed]) => input.value != seed", arg=[kept.element_handle(), seed])
    assert 0 <= int(kept.input_value()) < 2**32


def test_a_preset_moves_the_sliders_and_writes(open_page, lion, paced):
    page = open_page()
    put_in(page, lion)
    before = texts(page)
    press(page, JA["preset_wild"])
    page.wait_for_function("text => document.querySelector('.groups .card .text').textContent != text", arg=before[0])
    wait_for_cards(page)
    assert paced.calls[-1][2] == float(control(page, JA["temperature"]).input_value()) > 1


def test_a_tone_is_chosen_by_arrow_keys(open_page, lion):
    page = open_page()
    page.get_by_role("radio", name=JA["any_tone"]).focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("radio", name="つぶやき").is_checked()
    page.keyboard.press("ArrowRight")
    put_in(page, lion)
    assert set(page.locator(".groups .tone").all_text_contents()) == {"ツッコミ"}


def test_three_temperatures_stand_side_by_side_on_a_desk(open_page, lion, paced):
    page = open_page(viewport={"width": 1280, "height": 900})
    put_in(page, lion)
    press(page, JA["compare"])
    wait_for_cards(page, 6)
    assert [call[2] for call in paced.calls[-3:]] == list(COMPARED.values())
    assert page.locator(".groups h2 small").all_text_contents() == [JA["sober"], JA["medium"], JA["wild"]]
    tops = {section.bounding_box()["y"] for section in page.locator(".groups section").all()}
    assert len(tops) == 1


# --- What is done with a card ---


def test_an_edited_text_is_what_is_counted_copied_and_posted(open_page, lion):
    page = open_page()
    put_in(page, lion)
    act(page, JA["edit"])
    area = page.get_by_role("textbox", name=JA["edit_text"])
    area.fill("ねこ & 犬 https://example.com/a")
    assert page.locator(".length").first.text_content() == f"{weighted_length('ねこ & 犬 https://example.com/a')}/280"
    assert post_link(page) == "ねこ & 犬 https://example.com/a"
    act(page, JA["copy"])
    page.get_by_text(JA["copied"]).first.wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == "ねこ & 犬 https://example.com/a"
    area.press("Escape")
    assert texts(page)[0] == "ねこ & 犬 https://example.com/a"
    assert page.locator(".fit").first.text_content() == JA["edited"]


def test_the_browser_counts_as_the_writer_does(open_page, lion):
    page = open_page()
    put_in(page, lion)
    act(page, JA["edit"])
    area = page.get_by_role("textbox", name=JA["edit_text"])
    for text in (
        "abc", "ねこ", "ｶﾞが", "が", "👨‍👩‍👧‍👦", "🇯🇵🏴󠁧󠁢󠁥󠁮󠁧󠁿", "1️⃣ ©️ ❤️ ☕", "👍🏽", "“quoted” – …", "HTTPS://X.COM/ab?c=d です",
        "見てexample.jpだよ", "a@example.com", "改行\nあり", "é e\u0301", "あ" * 141, "example.com. ok", "中文字",
    ):  # fmt: skip
        area.fill(text)
        length = page.locator(".length").first.text_content()
        assert length.partition("/")[0] == str(weighted_length(text)), text
        assert (JA["too_long"] in length) == (weighted_length(text) > 280)


def test_likes_and_reports_are_kept_with_the_settings_and_without_the_photo(open_page, lion, notes):
    page = open_page()
    put_in(page, lion)
    act(page, JA["edit"], 1)
    page.keyboard.type("!")
    act(page, JA["like"], 1)
    assert page.locator(".groups .like").nth(1).get_attribute("aria-pressed") == "true"
    act(page, JA["report"], 2)
    page.get_by_text(JA["reported"]).first.wait_for()
    for _ in range(100):
        if len(notes.taken) == 2:
            break
        page.wait_for_timeout(50)
    (_, liked, session), (kind, reported, same_session) = sorted(notes.taken, key=lambda taken: taken[0])
    assert kind == "report"
    assert session == same_session != ""
    assert (liked["tone"], reported["tone"]) == ("ツッコミ", "アフレコ")
    assert not liked["text"].endswith("!")  # what the model wrote, not what the visitor did
    assert set(liked) == {"text", "tone", "register", "temperature", "guidance", "top_p", "seed", "model"}


def test_a_liked_tweet_stays_when_others_are_written_but_not_with_another_photo(open_page, lion):
    page = open_page()
    put_in(page, lion)
    act(page, JA["like"], 1)
    liked = texts(page)[1]
    press(page, JA["write"])
    page.get_by_text(JA["liked"]).wait_for()
    assert page.locator(".liked .text").all_text_contents() == [liked]
    page.get_by_label(JA["photo_buttons"]["Remove Image"]).click()
    page.get_by_text(JA["empty"]).wait_for()
    put_in(page, lion)
    assert page.locator(".liked .text").count() == 0


def test_a_card_written_again_changes_that_card_alone_and_keeps_the_focus(open_page, lion):
    page = open_page()
    put_in(page, lion)
    before = texts(page)
    act(page, JA["reroll"], 2)
    page.wait_for_function(
        "text => document.querySelectorAll('.groups .card .text')[2].textContent != text", arg=before[2]
    )
    after = texts(page)
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, True, False, True, True]
    assert page.evaluate("document.activeElement.closest('.card').querySelector('.text').textContent") == after[2]
    assert page.locator(".groups .tone").nth(2).text_content() == "アフレコ"


def test_cards_asked_for_in_one_moment_are_all_written_again(open_page, lion):
    page = open_page()
    put_in(page, lion)
    before = texts(page)
    page.evaluate("document.querySelectorAll('.groups .reroll').forEach(button => button.click())")
    page.wait_for_function(
        """before => [...document.querySelectorAll('.groups .card .text')]
            .every((text, place) => text.textContent != before[place])""",
        arg=before,
    )
    assert page.locator(".groups .card").count() == 5


def test_more_like_this_follows_its_card(open_page, lion):
    page = open_page()
    put_in(page, lion)
    before = texts(page)
    act(page, JA["more"], 1)
    page.wait_for_function("document.querySelectorAll('.groups .card').length == 7")
    after = texts(page)
    assert after[:2] + after[4:] == before
    assert page.locator(".groups .tone").all_text_contents()[1:4] == ["ツッコミ"] * 3


# --- Why ---


def test_why_shows_for_each_word_where_the_network_looked_and_what_the_photo_did(open_page, lion):
    page = open_page()
    put_in(page, lion)
    act(page, JA["why"])
    panel = page.get_by_role("region", name=JA["why_title"])
    panel.wait_for()
    words = panel.get_by_role("radio")
    assert words.count() == len(texts(page)[0]) + 1
    assert "/gradio_api/file=" in panel.locator("img").get_attribute("src")
    assert panel.locator(".likelihood b").all_text_contents() == ["61 %", "5.0 %"]
    assert JA["place"].format(column="左", row="上") in panel.locator(".detail").text_content()
    assert "ネコ 20 %、犬 10 %" in panel.locator(".detail").text_content()
    words.first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert JA["place"].format(column="右", row="上") in panel.locator(".detail").text_content()
    assert "右の上" in panel.locator("img").get_attribute("alt")
    darkness = panel.locator("canvas").evaluate(
        "canvas => [...canvas.getContext('2d').getImageData(0, 0, 3, 2).data].filter((_, i) => i % 4 == 3)"
    )
    assert [value == 0 for value in darkness] == [False, False, True, False, False, False]
    act(page, JA["why"])
    assert panel.count() == 0


def test_an_edited_text_can_be_questioned_too(open_page, lion):
    page = open_page()
    put_in(page, lion)
    act(page, JA["edit"])
    page.get_by_role("textbox", name=JA["edit_text"]).fill("ねこ")
    act(page, JA["why"])
    page.locator(".why-panel").wait_for()
    assert page.locator(".chip span").all_text_contents() == ["ね", "こ", JA["why_end"]]


# --- Everybody ---


@pytest.mark.parametrize("locale", ["en-US", "fr-FR"])
def test_whoever_reads_no_japanese_gets_english(open_page, locale, lion, tmp_path):
    page = open_page(locale)
    put_in(page, lion)
    act(page, EN["why"])
    page.get_by_role("region", name=EN["why_title"]).wait_for()
    assert page.title() == EN["title"]
    tweets = " ".join([*texts(page), *page.locator(".chip").all_text_contents(), "幅256の写真"])
    shown = page.evaluate("document.body.innerText")
    japanese = {word for word in re.findall(r"[ぁ-んァ-ヶ一-龠]+", shown) if word not in tweets}
    assert japanese <= {*FakeWriter.tones, "ネコ", "犬"}
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(lion.read_bytes()[:4000])
    page.get_by_label("Remove Image").click()
    page.set_input_files("input[type=file]", broken)
    page.get_by_text("The photo is damaged or cut short").wait_for()


def test_from_loading_to_a_copied_tweet_by_keyboard_alone(open_page, lion):
    page = open_page()

    def tab_to(selector):
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"{selector} can't be reached by Tab")

    # Not expect_file_chooser: a key that is pressed at once can be ahead of its asking the browser.
    page.on("filechooser", lambda chooser: chooser.set_files(lion))
    tab_to("#photo button.upload-container")
    page.keyboard.press("Enter")
    wait_for_cards(page)
    tab_to(".groups .copy")
    page.keyboard.press("Enter")
    page.get_by_text(JA["copied"]).first.wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == texts(page)[0]
    tab_to(".groups .edit")
    page.keyboard.press("Enter")
    page.keyboard.press("End")
    page.keyboard.type("!")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.className").startswith("act edit")
    assert texts(page)[0].endswith("!")
    for selector in (".groups .why", ".groups a.post", ".presets button", ".controls-column input[type=range]"):
        tab_to(selector)


@pytest.mark.parametrize("width", [360, 390])
def test_a_phone_shows_photo_tweets_and_controls_below_each_other_and_nothing_sideways(open_page, lion, width, paced):
    page = open_page("en-US", viewport={"width": width, "height": 780}, has_touch=True)
    paced.text = "ながーい" * 30
    put_in(page, lion)
    press(page, EN["compare"])
    wait_for_cards(page, 6)
    act(page, EN["why"])
    page.locator(".why-panel").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    photo, cards, controls = (
        page.locator(part).bounding_box() for part in ("#photo", ".groups", ".controls-column .presets")
    )
    assert photo["y"] + photo["height"] <= cards["y"] < cards["y"] + cards["height"] <= controls["y"]
    small = page.evaluate(
        """() => [...document.querySelectorAll('#cards :is(button, a, label), .controls-column button:is(.md, .lg)')]
            .map(node => [node.className, node.getBoundingClientRect()])
            .filter(([, box]) => box.width && (box.width < 44 || box.height < 44)).map(([name]) => name)"""
    )
    assert small == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_the_page_with_cards_and_with_reasons(open_page, lion, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = open_page("ja-JP" if scheme == "light" else "en-US", color_scheme=scheme)
    text = TEXTS["ja" if scheme == "light" else "en"]

    def violations():
        page.wait_for_timeout(600)  # a colour that is on its way has too little contrast
        found = axe.run(page).response["violations"]
        return [
            (violation["id"], [node["html"][:200] for node in violation["nodes"]])
            for violation in found
            if violation["impact"] in ("serious", "critical")
        ]

    assert violations() == []
    put_in(page, lion)
    act(page, text["edit"], 1)
    act(page, text["like"], 2)
    assert violations() == []
    act(page, text["why"])
    page.locator(".why-panel").wait_for()
    page.get_by_role("button", name=re.compile(f"^{text['details']}")).click()
    assert violations() == []
    press(page, text["compare"])
    wait_for_cards(page, 6)
    assert violations() == []


def test_the_page_follows_the_systems_colours(open_page):
    luminance = """() => {
        const [red, green, blue] = getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/g).map(Number);
        return (red + green + blue) / 765;
    }"""
    assert open_page(color_scheme="light").evaluate(luminance) > 0.9
    assert open_page(color_scheme="dark").evaluate(luminance) < 0.2


def test_without_a_place_for_them_nothing_can_be_reported(browser, lion, tmp_path):
    with served(FakeWriter(), tmp_path) as address:
        context = browser.new_context(locale="ja-JP")
        page = context.new_page()
        page.goto(address)
        page.locator("button.primary").wait_for()
        put_in(page, lion)
        assert page.get_by_label(JA["report"]).count() == 0
        act(page, JA["like"])
        assert page.locator(".groups .like").first.get_attribute("aria-pressed") == "true"
        config = json.loads(page.evaluate("fetch('config').then(answer => answer.text())"))
        assert config["analytics_enabled"] is False
        context.close()
