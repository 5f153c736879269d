"""Somebody else's checkpoint runs no code of its own and reads nothing elsewhere; a broken one gets a sentence."""

import json

import pytest

from tests.publish.conftest import make_checkpoint
from tweetcap import TweetWriter


@pytest.fixture
def change(tmp_path):
    """Return a function that changes one file of a checkpoint and returns the checkpoint."""
    (tmp_path / "words").mkdir()
    folder = make_checkpoint(tmp_path / "best", tmp_path / "words")

    def apply(name, **values):
        data = json.loads((folder / name).read_text(encoding="utf-8"))
        data.update(values)
        (folder / name).write_text(json.dumps(data), encoding="utf-8")
        return folder

    return apply


@pytest.mark.parametrize(
    "name, values",
    [
        ("config.json", {"attn_implementation": "me/kernel"}),
        ("config.json", {"auto_map": {"AutoConfig": "me/evil--evil.Evil"}}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}, "tokenizer_class": "Evil"}),
        (
            "processor_config.json",
            {
                "image_processor": {
                    "image_processor_type": "Evil",
                    "auto_map": {"AutoImageProcessor": "me/evil--evil.Evil"},
                    "size": {"height": 64, "width": 64},
                }
            },
        ),
    ],
)
def test_code_that_a_checkpoint_names_is_neither_fetched_nor_offered(change, name, values, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asked whether to run code"))
    writer = TweetWriter.from_pretrained(change(name, **values), device="cpu")
    parts = (writer.model, writer.processor, writer.tokenizer, writer.processor.image_processor)
    assert all(type(part).__module__.startswith("tweetcap.model.") for part in parts)
    assert writer.processor.image_processor.size["height"] == 64


@pytest.mark.parametrize(
    "values, sentence",
    [
        ({"encoder_name": "hf-hub:me/other"}, "is no plain name of a timm model"),
        ({"encoder_name": "local-dir:/tmp"}, "is no plain name of a timm model"),
        ({"encoder_name": "no_such_network"}, "Unknown model"),
        ({"vocab_size": "many"}, "holds no TweetCap checkpoint"),
        ({"vocab_size": 500}, "weights of other sizes"),
        ({"num_attention_heads": 0}, "holds no TweetCap checkpoint"),
        ({"concept_token_ids": [[99_999]] * 3}, "names tokens that it hasn't"),
        ({"sight_token_ids": [[99_999, 5]] * 4}, "names tokens that it hasn't"),
        ({"sight_priors": [0.1, 0.2, 0.3, 0.0]}, "no shares above 0"),
        ({"sight_priors": [0.1]}, "give one of each a sight"),
    ],
)
def test_a_config_that_makes_no_sense_is_told_in_a_sentence(change, values, sentence):
    with pytest.raises(ValueError, match=sentence):
        TweetWriter.from_pretrained(change("config.json", **values), device="cpu")
