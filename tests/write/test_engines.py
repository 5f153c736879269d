"""The packed engine says what the network says, row by row, and the drawing loop takes from it what it should."""

import pytest
import torch

from tests.tiny import some_photos, tiny_model
from tweetcap.model import TWEET_TONES, TweetCapEncoderOutput
from tweetcap.write import engines
from tweetcap.write.engines import ModelEngine, PackedEngine
from tweetcap.write.sampling import choose_words, draw, likeliest, sketch


@pytest.fixture(scope="module")
def model(processor):
    return tiny_model(processor.tokenizer)


@pytest.fixture(scope="module")
def encoded(model, processor) -> TweetCapEncoderOutput:
    with torch.inference_mode():
        return model.encoder(processor.image_processor(some_photos(1), return_tensors="pt")["pixel_values"])


@pytest.fixture(scope="module")
def prompts(processor) -> list[list[int]]:
    kinds = [(tone, register) for tone in TWEET_TONES for register in ("plain", "witty")]
    return [processor.tokenizer.prompt_ids(*kind) for kind in kinds * 2]


def follow(engine, encoded, prompts, words: int = 6, keep: slice = slice(None)) -> torch.Tensor:
    """Return log-probabilities (words, 2, texts, vocabulary) of fixed words; only `keep` goes on after the second."""
    generator = torch.Generator().manual_seed(0)
    found = []
    with torch.inference_mode():
        logits, state = engine.start(encoded, prompts)
        vocabulary = logits.shape[-1]
        for place in range(words):
            found.append(logits[..., :vocabulary].log_softmax(-1)[:, keep] if place < 2 else logits.log_softmax(-1))
            drawn = torch.randint(300, 310, (len(prompts),), generator=generator)
            if place == 1:
                state = engine.keep(state, torch.arange(len(prompts))[keep])
            logits, state = engine.step(drawn[keep] if place else drawn, state)
    return torch.stack(found)


@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize("photo", ["seen", "words hidden", "none"])
def test_the_packed_engine_agrees_with_the_network(model, encoded, prompts, monkeypatch, quantised, photo):
    if quantised and not torch.cpu._is_vnni_supported():
        pytest.skip("int8 is for processors with VNNI")
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: quantised)
    if photo == "none":
        encoded = None
    elif photo == "words hidden":
        encoded = TweetCapEncoderOutput(**encoded)
        encoded["concept_log_probs"] = encoded.concept_log_probs.clone()
        encoded["concept_log_probs"][:, 1] = -torch.inf
        encoded["sight_log_probs"] = torch.full_like(encoded.sight_log_probs, -torch.inf)
        encoded["sight_log_probs"][:, 2] = -1.0
    expected = follow(ModelEngine(model), encoded, prompts)
    vocabulary = expected.shape[-1]
    found = follow(PackedEngine(model), encoded, prompts)
    assert found[..., vocabulary:].exp().sum() == 0  # what fills the vocabulary up is never drawn
    divergence = (expected.exp() * (expected - found[..., :vocabulary])).sum(-1)  # Kullback and Leibler's, nats
    assert divergence.abs().mean() < (5e-3 if quantised else 1e-6)
    if not quantised:
        torch.testing.assert_close(found[..., :vocabulary], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("make", [ModelEngine, PackedEngine])
def test_texts_that_go_on_are_not_moved_by_those_that_ended(model, encoded, prompts, monkeypatch, make):
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)  # int8 has one scale for all rows
    rows = slice(3, 17, 2)
    everything = follow(make(model), encoded, prompts)
    some = follow(make(model), encoded, prompts, keep=rows)
    torch.testing.assert_close(some, everything[:, :, rows], rtol=0, atol=1e-5)


def test_the_likeliest_words_are_those_of_topk():
    scores = torch.randn(5, 160 * engines.VOCABULARY_BLOCK, generator=torch.Generator().manual_seed(0))
    for count in (1, 64):
        best, places = likeliest(scores, count)
        expected = scores.topk(count, -1)
        assert torch.equal(best, expected.values)
        assert torch.equal(places, expected.indices)


def test_words_are_drawn_from_the_nucleus_in_its_proportions():
    probs = torch.tensor([0.4, 0.05, 0.3, 0.05, 0.2])
    luck = (torch.arange(1000) + 0.5) / 1000
    words = choose_words(probs.log().expand(1000, -1), 1.0, 0.8, luck)
    drawn = torch.bincount(words, minlength=5) / 1000
    # 0.4 and 0.3 don't reach 0.8, with 0.2 they do; the rest is left out.
    torch.testing.assert_close(drawn, torch.tensor([0.4, 0, 0.3, 0, 0.2]) / 0.9, rtol=0, atol=0.002)
    colder = choose_words(probs.log().expand(1000, -1), 0.1, 1.0, luck)
    assert (colder == 0).float().mean() > 0.9
    assert set(choose_words(probs.log().expand(1000, -1), 1.0, 0.1, luck).tolist()) == {0}


def test_the_last_tenth_is_not_waited_for_but_a_single_text_is(model, encoded, prompts):
    settings = {"banned": torch.zeros(model.config.vocab_size, dtype=torch.bool), "top_p": 1.0, "guidance": 0.0}
    end = model.config.eos_token_id

    class Ending(ModelEngine):
        """All texts but the first two end after five words; the first ends after nine."""

        def start(self, encoded, prompts):
            self.alive, self.words = torch.arange(len(prompts)), 0
            return self.ending(*super().start(encoded, prompts))

        def step(self, words, state):
            self.words += 1
            return self.ending(*super().step(words, state))

        def keep(self, state, rows):
            self.alive = self.alive[rows]
            return super().keep(state, rows)

        def ending(self, logits, state):
            logits[..., end] = -1e9
            ends = (self.alive > 1) & (self.words >= 5) | (self.alive == 0) & (self.words >= 9)
            logits[:, ends, end] = 1e9
            return logits, state

    drawn = draw(Ending(model), encoded, prompts, temperature=1.0, **settings)
    assert len(prompts) == 20
    assert [candidate.finished for candidate in drawn] == [False, False, *[True] * 18]
    (alone,) = draw(Ending(model), encoded, prompts[:1], temperature=0.0, **settings)
    assert alone.finished
    assert len(alone.token_ids) == 9


def test_a_sketch_shows_texts_as_they_are_drawn(model, encoded, prompts):
    settings = {"banned": torch.zeros(model.config.vocab_size, dtype=torch.bool), "top_p": 1.0, "guidance": 0.5}
    drawing = sketch(ModelEngine(model), encoded, prompts, temperature=1.0, max_tokens=7, **settings)
    sketches = []
    while True:
        try:
            sketches.append(next(drawing))
        except StopIteration as stop:
            candidates = stop.value
            break
    for place, now in enumerate(sketches, start=1):
        assert now.token_ids.shape == (len(prompts), place)
    last = sketches[-1]
    for row, candidate in enumerate(candidates):
        assert last.token_ids[row, : len(candidate.token_ids)].tolist() == candidate.token_ids
        assert last.log_likelihoods[:, row].tolist() == [candidate.log_likelihood, candidate.null_log_likelihood]
