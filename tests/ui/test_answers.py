"""What the page's listeners answer, without a browser: shows, cards, reasons, and what no page sends."""

import pytest

from tests.fake_writer import FakeWriter
from tweetcap.data.photo import PhotoError, load_photo
from tweetcap.ui.answers import COMPARED, MAX_AVOID, Answers
from tweetcap.ui.texts import TEXTS, photo_problem

SETTINGS = {"tone": "ほっこり", "temperature": 0.8, "guidance": 0.5, "top_p": 0.9}


class Recorder(FakeWriter):
    """Remembers what it was asked to avoid."""

    def write(self, photo, **settings):
        self.avoided = settings.get("avoid")
        return super().write(photo, **settings)


@pytest.fixture
def writer() -> Recorder:
    return Recorder()


@pytest.fixture
def answers(writer) -> Answers:
    return Answers(writer)


@pytest.fixture
def upload(lion, tmp_path, monkeypatch) -> dict:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    path = tmp_path / "photo.jpg"
    path.write_bytes(lion.read_bytes())
    return {"path": str(path)}


def write(answers, upload, seed=7, **changes) -> list[dict]:
    controls = {"tone": "", "count": 3, "temperature": 0.8, "guidance": 0.5, "top_p": 0.9} | changes
    return list(answers.write(upload, *controls.values(), seed))


def texts(show) -> list[str]:
    return [card["text"] for group in show["groups"] for card in group["cards"]]


def test_a_show_grows_from_a_draft_to_cards_to_the_description(answers, upload, writer, lion):
    shows = write(answers, upload)
    assert [show["writing"] for show in shows] == [True] * 4 + [False] * 2
    drafts = [show["draft"]["text"] for show in shows[1:4]]
    assert [len(draft) for draft in drafts] == [3, 4, 5]
    expected = writer.write(lion, count=3, temperature=0.8, guidance=0.5, top_p=0.9, seed=7)
    assert texts(shows[4]) == texts(shows[5]) == [tweet.text for tweet in expected]
    assert (shows[4]["description"], shows[5]["description"]) == (None, "幅256の写真")


def test_a_card_holds_what_it_was_made_by(answers, upload):
    *_, show = write(answers, upload, tone="大喜利")
    (card, *_) = show["groups"][0]["cards"]
    assert card["tone"] == "大喜利"
    assert {name: card[name] for name in ("temperature", "guidance", "top_p", "seed", "register")} == {
        "temperature": 0.8, "guidance": 0.5, "top_p": 0.9, "seed": 7, "register": "plain",
    }  # fmt: skip


def test_a_comparison_writes_at_three_temperatures_from_one_seed(answers, upload, writer):
    shows = list(answers.compare(upload, "", 0.5, 0.9, None))
    assert [len(texts(show)) for show in shows if not show["draft"]] == [0, 2, 4, 6, 6]
    show = shows[-1]
    assert [(group["name"], group["temperature"]) for group in show["groups"]] == list(COMPARED.items())
    assert all(len(group["cards"]) == 2 for group in show["groups"])
    assert {card["seed"] for group in show["groups"] for card in group["cards"]} == {show["seed"]}


def test_a_card_written_again_is_of_the_same_kind_and_unlike_what_is_shown(answers, upload, writer):
    answer = answers.reroll(upload, SETTINGS | {"request": 3, "avoid": ["前の文", "編集した文", None]})
    (card,) = answer["cards"]
    assert answer["request"] == 3
    assert {name: card[name] for name in SETTINGS} == SETTINGS
    assert writer.avoided == ["前の文", "編集した文"]


@pytest.mark.parametrize(("temperature", "neighbour"), [(0.8, 0.95), (2.0, 1.85)])
def test_more_of_a_card_comes_at_a_neighbouring_temperature(answers, upload, temperature, neighbour):
    cards = answers.more(upload, SETTINGS | {"temperature": temperature})["cards"]
    assert [(card["tone"], card["temperature"]) for card in cards] == [("ほっこり", neighbour)] * 2


def test_the_reasons_for_a_text_are_the_writers(answers, upload):
    answer = answers.why(upload, {"request": 1, "text": "ねこ", "tone": "つぶやき", "register": "plain"})
    assert (answer["rows"], answer["columns"]) == (2, 3)
    assert [word["text"] for word in answer["words"]] == ["ね", "こ", ""]
    assert answer["words"][1]["log_prob"] == -0.6
    assert answer["words"][1]["attention"] == [[0.0, 0.7, 0.0], [0.0, 0.0, 0.0]]
    assert answer["words"][1]["concepts"] == [["ネコ", 0.2], ["犬", 0.1]]
    assert answer["words"][1]["on_concepts"] == pytest.approx(0.3)


def test_without_a_photo_one_is_asked_for(answers):
    (show,) = write(answers, None)
    assert show["problem"] == {"ja": "写真を入れてください。", "en": "Please put a photo in."}


def test_a_photo_that_was_deleted_meanwhile_is_asked_for_again(answers, upload, tmp_path):
    (tmp_path / "photo.jpg").unlink()
    (show,) = write(answers, upload)
    assert "もう一度入れてください" in show["problem"]["ja"]
    assert "deleted" in answers.reroll(upload, SETTINGS)["problem"]["en"]


@pytest.mark.parametrize("seed", [-1, 2**32, "abc", float("nan"), True])
def test_a_seed_that_is_none_is_named(answers, upload, seed):
    (show,) = write(answers, upload, seed=seed)
    assert str(seed) in show["problem"]["ja"]
    assert str(seed) in show["problem"]["en"]


@pytest.mark.parametrize(
    "changes", [{"count": 11}, {"temperature": 9}, {"guidance": "<b>"}, {"top_p": None}, {"tone": "演説"}]
)
def test_a_control_that_no_page_sends_gets_a_sentence(answers, upload, changes):
    *_, show = write(answers, upload, **changes)
    (name, value), = changes.items()  # fmt: skip
    assert name in show["problem"]["en"]
    assert str(value) in show["problem"]["en"]
    assert texts(show) == []


@pytest.mark.parametrize(
    "data", [None, [], "x", {}, {"temperature": []}, SETTINGS | {"avoid": {"a": 1}, "tone": ["x"]}]
)
def test_whatever_a_browser_sends_for_a_card_is_answered(answers, upload, data):
    for ask in (answers.reroll, answers.more, answers.why):
        assert "problem" in ask(upload, data)


@pytest.mark.parametrize("text", [None, "", " \n", "あ" * 281, 5])
def test_only_a_text_of_a_tweets_length_is_explained(answers, upload, text):
    assert "280" in answers.why(upload, SETTINGS | {"text": text, "register": "plain"})["problem"]["en"]


def test_a_long_list_of_texts_to_avoid_is_cut(answers, upload, writer):
    answers.reroll(upload, SETTINGS | {"avoid": ["あ" * 1000] * 1000})
    assert writer.avoided == ["あ" * 280] * MAX_AVOID


def test_nothing_publishable_is_said_in_words(answers, upload, writer, monkeypatch):
    monkeypatch.setattr(writer, "write", lambda photo, **settings: [])
    monkeypatch.setattr(writer, "stream", lambda photo, **settings: iter(()))
    assert "No tweet came to mind" in write(answers, upload)[-1]["problem"]["en"]
    assert "ほかの言いかた" in answers.reroll(upload, SETTINGS)["problem"]["ja"]


def test_both_languages_say_the_same_things():
    assert TEXTS["ja"].keys() == TEXTS["en"].keys()
    for key, text in TEXTS["ja"].items():
        assert isinstance(text, str) == isinstance(TEXTS["en"][key], str)
        if isinstance(text, str):
            assert set(placeholders(text)) == set(placeholders(TEXTS["en"][key])), key


def placeholders(text: str) -> list[str]:
    return [part.partition("}")[0] for part in text.split("{")[1:]]


def test_every_photo_that_is_refused_gets_a_japanese_sentence(lion):
    whole = lion.read_bytes()
    png = b"\x89PNG\r\n\x1a\n" + bytes.fromhex("0000000d49484452")
    files = {
        "empty": b"",
        "cut": whole[:4000],
        "text": b"not a photo",
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "heavy": whole + bytes(20 * 2**20),
        "bomb": png + bytes.fromhex("0000c3500000c3500802000000") + bytes.fromhex("c4cdaa9d"),
        "scans": whole[:-2] + b"\xff\xda" * 65 + b"\xff\xd9",
    }
    for name, data in files.items():
        with pytest.raises(PhotoError) as error:
            load_photo(data)
        problem = photo_problem(str(error.value))
        assert problem["en"].startswith("The photo "), name
        assert problem["ja"] != problem["en"], name
