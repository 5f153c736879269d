"""The card says what was measured and what people wrote, and the Hub's own reader reads it back."""

import json
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from tests.publish.conftest import NOTES, made_metrics
from tweetcap.data.hub import PublishError
from tweetcap.publish.card import build_card, read_metrics
from tweetcap.write.writer import EMBEDDED


@pytest.fixture
def card(checkpoint) -> ModelCard:
    metrics = read_metrics(checkpoint / "metrics.json", checkpoint)
    return build_card(checkpoint, repo_id="me/tiny", metrics=metrics)


def test_the_model_index_has_every_figure_that_says_how_good_it_is(card):
    again = ModelCard(str(card), ignore_metadata_errors=False)
    results = {result.metric_name: result for result in again.data.eval_results}
    values = {name: (result.metric_type, result.metric_value) for name, result in results.items()}
    assert values == {
        "説明 names the right animal": ("description_names_the_right_animal", 0.875),
        "説明: BLEU-4": ("bleu", 12.5),
        "tweets: CIDEr-D": ("cider", 0.1235),
    }
    for result in results.values():
        assert (result.task_type, result.dataset_name, result.dataset_split) == ("image-to-text", "made", "test")
    assert again.data.model_name == "tiny"
    assert "| 説明: BLEU-4 | 12.50 | 11.00 to 14.25 |" in card.text
    assert "40 photos of made, test, 5 tweets each (temperature 0.8, top-p 0.9, guidance 0.5), seed 0" in card.text


def test_what_people_wrote_is_in_the_card_as_they_wrote_it(card):
    assert card.data.license == "cc-by-4.0"
    assert card.data.datasets == ["org/made"]
    assert card.data.language == ["ja"]
    assert card.data.pipeline_tag == "image-to-text"
    assert {"cats", "animals"} <= set(card.data.tags)
    assert card.text.strip().startswith("# A small voice\n\nIt says what the cat says.")
    for section in NOTES.split("## ")[1:]:
        assert section.strip() in card.text
    assert "training" not in card.data.to_dict()


def test_the_carbon_estimate_is_the_formulas(card):
    assert card.data.co2_eq_emissions["emissions"] == 240
    assert "3 h × 200 W ÷ 1000 × 400 g/kWh = 240 g CO₂eq" in card.text
    assert "The meter was read." in card.text


def test_the_ways_to_use_it_name_the_repository(card):
    assert 'TweetWriter.from_pretrained("me/tiny")' in card.text
    assert 'model="me/tiny", revision="main", trust_remote_code=True' in card.text


def test_a_checkpoint_that_was_not_measured_says_so(checkpoint):
    card = build_card(checkpoint, repo_id="me/tiny")
    assert "Nothing was measured." in card.text
    assert card.data.eval_results is None


def test_no_path_and_no_photo_of_the_measurement_is_kept(checkpoint):
    public = json.dumps(read_metrics(checkpoint / "metrics.json", checkpoint))
    assert "somebody" not in public
    assert str(checkpoint.parent) not in public


@pytest.mark.parametrize(
    "old, new, sentence",
    [
        ("license: cc-by-4.0\n", "", "has no license in its YAML"),
        ("license: cc-by-4.0", "license: [cc", "has YAML that can't be read"),
        (NOTES[: NOTES.index("# A small")], "", "has no license in its YAML"),
        ("# A small voice", "A small voice", "has no title"),
        ("## Limits", "## Limitations", "has nothing under `## Limits`"),
        ("It makes no sense.", "", "has nothing under `## Limits`"),
        ("hours: 3", "hours: many", "has no number for hours"),
        ("  watts: 200\n", "", "has no number for watts"),
    ],
)
def test_notes_that_are_not_whole_are_refused(checkpoint, old, new, sentence):
    assert old in NOTES
    (checkpoint / "notes.md").write_text(NOTES.replace(old, new), encoding="utf-8")
    with pytest.raises(PublishError) as caught:
        build_card(checkpoint)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_without_notes_is_told_what_to_write(checkpoint):
    (checkpoint / "notes.md").unlink()
    with pytest.raises(PublishError, match="is missing; write there YAML with a license"):
        build_card(checkpoint)


def test_figures_of_other_weights_are_refused(checkpoint):
    metrics = made_metrics(checkpoint) | {"revision": "sha256:0123456789abcdef"}
    (checkpoint / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(PublishError, match="was measured on other weights"):
        read_metrics(checkpoint / "metrics.json", checkpoint)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"figures": {}}', '{"figures": {"a": 1}}', '{"figures": {"a": {}}}'])
def test_a_file_that_is_no_measurement_is_refused(checkpoint, text):
    (checkpoint / "metrics.json").write_text(text)
    with pytest.raises(PublishError, match=r"is not the metrics\.json of `tweetcap evaluate`"):
        read_metrics(checkpoint / "metrics.json", checkpoint)


def test_the_embedded_checkpoints_card_is_the_one_that_its_files_make():
    metrics = read_metrics(EMBEDDED / "metrics.json", EMBEDDED)
    assert (EMBEDDED / "README.md").read_text(encoding="utf-8") == str(build_card(EMBEDDED, metrics=metrics))


def test_the_embedded_checkpoints_numbers_are_those_of_its_network():
    from tweetcap.model import TweetCapForConditionalGeneration

    model = TweetCapForConditionalGeneration.from_pretrained(EMBEDDED)
    encoder, whole = (sum(p.numel() for p in part.parameters()) / 1e6 for part in (model.encoder, model))
    numbers = f"{whole:.1f} M parameters: {encoder:.1f} M in the encoder (`tf_efficientnet_lite2`), "
    text = (EMBEDDED / "README.md").read_text(encoding="utf-8")
    assert f"{numbers}{whole - encoder:.1f} M in the decoder" in text


def test_the_readmes_figures_are_those_of_the_card():
    data = yaml.safe_load((EMBEDDED / "README.md").read_text(encoding="utf-8").split("---")[1])
    values = {metric["name"]: metric["value"] for metric in data["model-index"][0]["results"][0]["metrics"]}
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8").replace("\n", " ")
    for name, words in {
        "説明 names the right animal": "the right animal in {:.0%}",
        "tweets that name an animal": "{:.0%} of the tweets name an animal",
        "tweets that name a wrong animal": "{:.1%} a wrong one",
        "the own photo ranks first among 20 by its caption": "its own photo among 20 in {:.0%}",
    }.items():
        assert words.format(values[name]).replace("%", " %") in readme


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found.pop("photos"),
        lambda found: found["figures"]["説明: BLEU-4"].update(value="high"),
        lambda found: found["figures"]["説明: BLEU-4"].update(low=float("nan")),
        lambda found: found.update(figures=[]),
    ],
)
def test_figures_that_are_none_are_refused(checkpoint, change):
    found = made_metrics(checkpoint)
    change(found)
    (checkpoint / "metrics.json").write_text(json.dumps(found), encoding="utf-8")
    with pytest.raises(PublishError, match=r"is not the metrics\.json of"):
        read_metrics(checkpoint / "metrics.json", checkpoint)
