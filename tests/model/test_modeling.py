"""The network agrees with itself: carried and recomputed, alone and in a batch, saved and loaded."""

import pytest
import torch
from safetensors.torch import load_file
from transformers import TextStreamer

from tests.tiny import TEXTS, some_photos, tiny_model
from tweetcap.model import TweetCapConfig, TweetCapForConditionalGeneration, save_checkpoint


@pytest.fixture(scope="module")
def model(processor):
    return tiny_model(processor.tokenizer)


@pytest.fixture(scope="module")
def inputs(processor):
    return processor(images=list(some_photos(3)), tone="つぶやき", return_tensors="pt")


@pytest.mark.parametrize("photo", [True, False])
def test_a_whole_sequence_equals_prefix_and_carried_state(model, processor, photo):
    labels = processor(text=list(TEXTS[:3]), tone="ほっこり", return_tensors="pt")["labels"]
    ids = model.shift_right(labels)
    pixel_values = processor(images=list(some_photos(3)), return_tensors="pt")["pixel_values"] if photo else None
    whole = model(pixel_values, decoder_input_ids=ids).logits
    first = model(pixel_values, decoder_input_ids=ids[:, :4])
    pieces = [first.logits]
    state = first.state
    for step in range(4, ids.shape[1]):
        output = model(decoder_input_ids=ids[:, step : step + 1], state=state)
        state = output.state
        pieces.append(output.logits)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=1e-4, atol=1e-4)


def test_beam_search_with_carried_state_equals_recomputation(model, inputs):
    settings = {"num_beams": 4, "num_return_sequences": 3, "max_new_tokens": 12, "do_sample": False}
    carried = model.generate(**inputs, **settings)
    recomputed = model.generate(**inputs, **settings, use_cache=False)
    assert carried.tolist() == recomputed.tolist()


def test_sampling_with_carried_state_equals_recomputation(model, inputs):
    sequences = []
    for use_cache in (True, False):
        torch.manual_seed(1)
        sequences.append(
            model.generate(**inputs, do_sample=True, num_return_sequences=4, max_new_tokens=10, use_cache=use_cache)
        )
    assert sequences[0].shape[0] == 12
    assert sequences[0].tolist() == sequences[1].tolist()


def test_photos_in_a_batch_are_read_as_alone(model, processor, inputs):
    together = model.generate(**inputs, max_new_tokens=10)
    for row, photo in enumerate(some_photos(3)):
        one = processor(images=photo, tone="つぶやき", return_tensors="pt")
        alone = model.generate(**one, max_new_tokens=10)[0]
        assert together[row, : len(alone)].tolist() == alone.tolist()


def test_the_prompt_comes_first_and_a_bare_call_takes_the_default_tone(model, processor, inputs, tmp_path):
    prompted = model.generate(**inputs, max_new_tokens=4)
    assert processor.tokenizer.decode(prompted[0][:2].tolist()) == "<s><つぶやき>"
    save_checkpoint(model, processor, tmp_path)
    loaded = TweetCapForConditionalGeneration.from_pretrained(tmp_path)
    bare = loaded.generate(inputs["pixel_values"], max_new_tokens=4)
    assert processor.tokenizer.decode(bare[0][:2].tolist()) == "<s><つぶやき>"


def test_streaming_gives_the_text_of_the_whole_call(model, processor):
    class Parts(TextStreamer):
        def on_finalized_text(self, text: str, stream_end: bool = False):
            parts.append(text)

    parts: list[str] = []
    one = processor(images=some_photos(1)[0], tone="つぶやき", return_tensors="pt")
    streamer = Parts(processor.tokenizer, skip_special_tokens=True)
    sequence = model.generate(**one, max_new_tokens=12, streamer=streamer)
    assert "".join(parts).rstrip("\n") == processor.tokenizer.decode(sequence[0].tolist(), skip_special_tokens=True)


def test_the_photo_changes_the_text_and_the_null_photo_is_its_own(model, processor):
    labels = processor(text=TEXTS[0], tone="説明", return_tensors="pt")["labels"].repeat(2, 1)
    photos = processor(images=list(some_photos(2)), return_tensors="pt")["pixel_values"]
    seen = model(photos, labels=labels).logits
    null = model(labels=labels).logits
    masked = model(photos, labels=labels, photo_mask=torch.tensor([True, False])).logits
    assert not torch.allclose(seen[0], seen[1], atol=1e-4)
    torch.testing.assert_close(masked[0], seen[0])
    torch.testing.assert_close(masked[1], null[1])


def test_padding_never_changes_a_loss_and_training_mode_agrees_with_evaluation(model, processor):
    rows = [processor(text=text, tone="大喜利", register="witty", return_tensors="pt")["labels"] for text in TEXTS]
    with torch.no_grad():
        totals = [(model(labels=row).loss * (row != -100).sum()).item() for row in rows]
        batch = processor(text=list(TEXTS), tone="大喜利", register="witty", return_tensors="pt")["labels"]
        together = model(labels=batch).loss.item()
        model.config.dropout, kept = 0.0, model.config.dropout
        trained = model.train()(labels=batch).loss.item()
        model.eval().config.dropout = kept
    expected = sum(totals) / (batch != -100).sum().item()
    assert together == pytest.approx(expected, rel=1e-4)
    assert trained == pytest.approx(expected, rel=1e-4)


def test_hidden_concepts_change_nothing_whatever_they_are(model, processor):
    encoded = model.encoder(processor(images=list(some_photos(2)), return_tensors="pt")["pixel_values"])
    labels = processor(text=TEXTS[0], return_tensors="pt")["labels"].repeat(2, 1)
    encoded.concept_log_probs = torch.full_like(encoded.concept_log_probs, -torch.inf)
    hidden = model(encoder_outputs=encoded, labels=labels).logits
    encoded.concept_ids = (encoded.concept_ids + 1) % 3
    torch.testing.assert_close(model(encoder_outputs=encoded, labels=labels).logits, hidden)
    assert hidden.isfinite().all()


def test_hidden_concepts_leave_every_gradient_finite(processor):
    model = tiny_model(processor.tokenizer).train()
    encoded = model.encoder(processor(images=list(some_photos(2)), return_tensors="pt")["pixel_values"])
    encoded.concept_log_probs = encoded.concept_log_probs.masked_fill(
        torch.tensor([[True, False], [True, True]]), -torch.inf
    )
    labels = processor(text=list(TEXTS[:2]), return_tensors="pt")["labels"]
    model(encoder_outputs=encoded, labels=labels).loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_sights_offered_are_those_that_tell_most_and_hidden_ones_never(model):
    log_probs = torch.tensor([[0.05, 0.9, 0.06, 0.4], [0.9, 0.9, 0.9, 0.9]]).log()
    assert model.decoder.choose_sights(log_probs).tolist()[0] == [1, 2]  # 0.4 is no more than any photo gives the last
    log_probs[1, 2] = -torch.inf
    assert 2 not in model.decoder.choose_sights(log_probs)[1]


def test_a_hidden_sight_changes_nothing_whatever_it_is(model, processor):
    encoded = model.encoder(processor(images=list(some_photos(2)), return_tensors="pt")["pixel_values"])
    labels = processor(text=TEXTS[0], return_tensors="pt")["labels"].repeat(2, 1)
    seen = model(encoder_outputs=encoded, labels=labels).logits
    encoded.sight_log_probs = torch.full_like(encoded.sight_log_probs, -torch.inf)
    hidden = model(encoder_outputs=encoded, labels=labels).logits
    assert not torch.allclose(hidden, seen)
    assert hidden.isfinite().all()


def test_concepts_are_the_likeliest_groups_of_classes(model):
    pooled = torch.randn(5, model.config.encoder_channels)
    ids, log_probs = model.encoder.find_concepts(pooled)
    probs = model.encoder.class_head(pooled).softmax(-1)
    groups = torch.stack([probs[:, classes].sum(1) for classes in model.config.concept_classes], 1)
    expected = groups.topk(2)
    assert ids.tolist() == expected.indices.tolist()
    torch.testing.assert_close(log_probs, expected.values.log())


def test_a_class_of_no_concept_is_never_offered(processor):
    model = tiny_model(processor.tokenizer, concept_classes=[[0], [1], [3]], num_classes=8, num_concepts=3)
    with torch.no_grad():
        model.encoder.class_head.bias[7] = 50.0  # a class of no concept, and nearly certain
    ids, log_probs = model.encoder.find_concepts(torch.randn(4, model.config.encoder_channels))
    assert ids.max() < 3
    assert log_probs.isfinite().all()


def test_attention_weights_are_shares_of_regions_concepts_and_sights(model, processor, inputs):
    output = model(**inputs, output_attentions=True)
    assert output.cross_attentions.shape == (3, 2, 4 + 2 + 2)
    torch.testing.assert_close(output.cross_attentions.sum(-1), torch.ones(3, 2))


def test_a_saved_model_loads_to_the_same_network_in_full_precision(model, processor, inputs, tmp_path):
    save_checkpoint(model, processor, tmp_path, half=False)
    loaded = TweetCapForConditionalGeneration.from_pretrained(tmp_path)
    assert loaded.dtype == torch.float32
    assert loaded.lm_head.weight is loaded.decoder.embed_tokens.weight
    assert {
        name for name, tensor in model.state_dict().items() if not torch.equal(tensor, loaded.state_dict()[name])
    } == set()
    torch.testing.assert_close(loaded(**inputs).logits, model(**inputs).logits)


def test_tied_weights_are_stored_once(model, processor, tmp_path):
    save_checkpoint(model, processor, tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert "lm_head.weight" not in stored
    assert stored["decoder.embed_tokens.weight"].dtype == torch.float16


def test_half_the_bytes_load_as_float32_near_the_original(model, processor, inputs, tmp_path):
    save_checkpoint(model, processor, tmp_path)
    loaded = TweetCapForConditionalGeneration.from_pretrained(tmp_path)
    assert loaded.dtype == torch.float32
    torch.testing.assert_close(loaded(**inputs).logits, model(**inputs).logits, rtol=0.05, atol=0.05)
    assert [file.suffix for file in tmp_path.iterdir() if file.suffix in (".safetensors", ".bin", ".pt")] == [
        ".safetensors"
    ]


def test_a_network_without_concepts_works_too(processor):
    model = tiny_model(processor.tokenizer, concept_classes=None, concept_token_ids=None, num_classes=0)
    inputs = processor(images=list(some_photos(2)), tone="説明", return_tensors="pt")
    assert model.generate(**inputs, num_beams=2, max_new_tokens=5).shape[0] == 2


@pytest.mark.parametrize("left", ["concepts", "sights"])
def test_concepts_and_sights_work_without_each_other(processor, left):
    without = {
        "sights": {"concept_classes": None, "concept_token_ids": None, "num_classes": 0},
        "concepts": {"sight_token_ids": None, "sight_priors": None, "num_sights": 0},
    }[left]
    model = tiny_model(processor.tokenizer, **without)
    inputs = processor(images=list(some_photos(2)), tone="説明", return_tensors="pt")
    assert model.generate(**inputs, num_beams=2, max_new_tokens=5).shape[0] == 2


def test_wrong_sizes_are_named(processor):
    with pytest.raises(ValueError, match="256 channels, not 128"):
        tiny_model(processor.tokenizer, encoder_channels=128)
    with pytest.raises(ValueError, match="memory_size 10"):
        TweetCapConfig(memory_size=10, num_attention_heads=4)
    with pytest.raises(ValueError, match="concept_classes"):
        TweetCapConfig(concept_classes=[[0]], concept_token_ids=[])
    with pytest.raises(ValueError, match="sight_priors"):
        TweetCapConfig(sight_token_ids=[[5]], sight_priors=[])
