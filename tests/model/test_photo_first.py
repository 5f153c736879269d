"""The decoder that reads the photo first agrees with itself, and the checkpoints of today never meet it."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoTokenizer

from tests.tiny import TEXTS, some_photos, tiny_processor, tiny_tokenizer
from tweetcap.model import (
    TweetCapConfig,
    TweetCapForConditionalGeneration,
    TweetCapImageProcessor,
    TweetCapTokenizer,
    save_checkpoint,
)
from tweetcap.write.writer import EMBEDDED


@pytest.fixture(scope="module")
def processor(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny_tokenizer(folder)
    return tiny_processor(TweetCapTokenizer(str(folder / "vocab.json"), registers=False))


@pytest.fixture(scope="module")
def model(processor):
    torch.manual_seed(0)
    config = TweetCapConfig(
        decoder_type="photo_first",
        vocab_size=len(processor.tokenizer),
        encoder_name="test_resnet",
        encoder_channels=96,
        grid_size=2,
        embedding_size=24,
        hidden_size=32,
    )
    return TweetCapForConditionalGeneration(config).eval()


@pytest.mark.parametrize("photo", [True, False])
def test_a_whole_sequence_equals_prefix_and_carried_state(model, processor, photo):
    ids = model.shift_right(processor(text=list(TEXTS[:3]), tone="ほっこり", return_tensors="pt")["labels"])
    pixel_values = processor(images=list(some_photos(3)), return_tensors="pt")["pixel_values"] if photo else None
    with torch.no_grad():
        whole = model(pixel_values, decoder_input_ids=ids).logits
        output = model(pixel_values, decoder_input_ids=ids[:, :3])
        pieces = [output.logits]
        for step in range(3, ids.shape[1]):
            output = model(decoder_input_ids=ids[:, step : step + 1], state=output.state)
            pieces.append(output.logits)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=1e-5, atol=1e-5)


def test_the_loss_is_the_same_in_training_and_moves_every_weight_of_the_decoder(model, processor):
    inputs = processor(images=list(some_photos(3)), text=list(TEXTS[:3]), tone="つぶやき", return_tensors="pt")
    with torch.no_grad():
        quiet = model(inputs["pixel_values"], labels=inputs["labels"]).loss
    model.decoder.pooled_norm.eval()
    model.training = True  # the loss alone: batch normalisation keeps its statistics
    trained = model(inputs["pixel_values"], labels=inputs["labels"]).loss
    trained.backward()
    model.eval()
    assert trained.item() == pytest.approx(quiet.item(), rel=1e-5)
    for name, parameter in (*model.decoder.named_parameters(), *model.lm_head.named_parameters()):
        assert parameter.grad.abs().sum() > 0, name
    model.zero_grad()


def test_saved_and_loaded_it_is_the_same_and_nothing_is_tied(model, processor, tmp_path):
    save_checkpoint(model, processor, tmp_path, half=False)
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["decoder_type"] == "photo_first"
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert loaded.lm_head.weight.shape == (len(processor.tokenizer), 32)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.prompt_ids("説明", "witty") == tokenizer.prompt_ids("説明")
    with pytest.raises(ValueError, match="register 'loud' is unknown"):
        tokenizer.prompt_ids("説明", "loud")


def test_lanczos_resizes_as_pillow_does_and_bicubic_as_ever(tmp_path):
    photos = some_photos(2, seed=3)[:, :, :77]
    mine = TweetCapImageProcessor(size={"height": 48, "width": 40}, resample=Image.Resampling.LANCZOS)
    mine.save_pretrained(tmp_path)
    processor = TweetCapImageProcessor.from_pretrained(tmp_path)
    pixel_values = processor(list(photos), return_tensors="pt")["pixel_values"]
    for photo, given in zip(photos, pixel_values, strict=True):
        pillow = Image.fromarray(photo.permute(1, 2, 0).numpy()).resize((40, 48), Image.Resampling.LANCZOS)
        expected = torch.from_numpy(np.array(pillow)).permute(2, 0, 1).float() / 127.5 - 1
        torch.testing.assert_close(given, expected, rtol=0, atol=1e-6)
    bicubic = TweetCapImageProcessor(size={"height": 48, "width": 40})(list(photos), return_tensors="pt")
    assert not torch.equal(bicubic["pixel_values"], pixel_values)


def test_the_checkpoints_of_today_have_attention_and_tied_words():
    stored = json.loads((EMBEDDED / "config.json").read_text())
    stored.pop("decoder_type", None)  # as in checkpoints from before there were two
    for config in (TweetCapConfig(), TweetCapConfig.from_dict(stored), TweetCapConfig.from_pretrained(EMBEDDED)):
        assert (config.decoder_type, config.tie_word_embeddings) == ("attention", True)


def test_values_that_no_network_has_are_refused():
    with pytest.raises(ValueError, match="decoder_type 'rnn' is unknown"):
        TweetCapConfig(decoder_type="rnn")
    with pytest.raises(ValueError, match="can't be offered concepts"):
        TweetCapConfig(decoder_type="photo_first", concept_classes=[[0]], concept_token_ids=[[5]])
