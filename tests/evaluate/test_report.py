"""The page opens without a network and holds what it should."""

import base64
import json
import re
import shutil

import pytest
import torch
from torchvision.io import decode_jpeg

from tests.evaluate.known_writer import KnownWriter, read_rows, save_corpus, save_rows
from tweetcap.data.photo import PhotoError
from tweetcap.evaluate import command
from tweetcap.evaluate.photos import EvaluationPhoto
from tweetcap.evaluate.predictions import PredictedTweet, Prediction
from tweetcap.evaluate.report import THUMBNAIL, rankings, thumbnail

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">&'猫"


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """A run scored again with one hostile description, and compared with itself as it was."""
    folder = tmp_path_factory.mktemp("report")
    corpus, output = save_corpus(folder / "corpus"), folder / "output"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command.TweetWriter, "from_pretrained", lambda model=None: KnownWriter())
        command.evaluate(corpus=corpus, output=output)
    rows = read_rows(output / "predictions.jsonl")
    rows[0]["description"] = HOSTILE
    theirs = save_rows(folder / "theirs.jsonl", rows)
    command.evaluate(corpus=corpus, output=output, predictions=theirs, against=output / "predictions.jsonl")
    return output


def test_the_page_holds_tables_plots_and_photos_and_loads_nothing(output):
    page = (output / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") >= 5
    for heading in ("The animal", "Against references", "Diversity", "Novelty", "Safety", "Speed", "Best", "Worst"):
        assert re.search(rf"<h2>{heading}", page)
    assert "distinct-2" in page and "unidic-lite" in page and "p (Holm)" in page
    photos = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    assert len(photos) >= 4  # best and worst, by captions and by tweets
    for photo in photos:
        assert decode_jpeg(torch.frombuffer(bytearray(base64.b64decode(photo)), dtype=torch.uint8)).shape == (3, 48, 64)
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert "<script" not in page


def test_the_page_opens_in_a_browser_with_texts_as_they_are(output):
    if not CHROMIUM:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 390, "height": 800})
        troubles, requests = [], []
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda message: troubles.append(message.text))
        page.on("request", lambda request: requests.append(request.url))
        page.goto((output / "report.html").as_uri())
        assert "validation photos" in page.title()
        assert HOSTILE in page.inner_text("body")
        assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
        assert troubles == []
        assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
        browser.close()


def test_examples_are_ranked_best_first_and_by_grounding_without_references():
    photos = [
        EvaluationPhoto(str(n), str(n), None, (f"犬が庭を{verb}",), ()) for n, verb in enumerate(("走る", "掘る"))
    ]
    predictions = [
        Prediction("0", "0", None, "鳥だ", (PredictedTweet("a", None, 2.0),)),
        Prediction("1", "1", None, "犬が庭を掘る", (PredictedTweet("b", None, 0.5),)),
    ]
    described, grounded = rankings(photos, predictions)
    assert [place for place, _ in described.scored] == [1, 0] and "CIDEr-D" in described.name
    assert [place for place, _ in grounded.scored] == [0, 1] and "gain" in grounded.name


def test_a_thumbnail_is_small(lion):
    pixels = decode_jpeg(torch.frombuffer(bytearray(base64.b64decode(thumbnail(lion))), dtype=torch.uint8))
    assert max(pixels.shape) == THUMBNAIL
    with pytest.raises(PhotoError):
        thumbnail(b"no photo")


def test_dollar_signs_and_names_that_are_no_utf_8_spoil_no_page(tmp_path):
    rows = [
        {"photo_id": "a", "tweets": ["犬"], "candidates": {"passed": 1, "$\\frac$": 2}},
        {"photo_id": "b\ud800", "error": "damaged"},
    ]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    command.evaluate(predictions=tmp_path / "p.jsonl", output=tmp_path / "out", say=str)
    assert "b?" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "b\ud800" in json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))["left_out"][0]
