"""The writer keeps its promises whatever the network says; and its fast path agrees with `generate`."""

import subprocess
import sys
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch

from tests.tiny import CONCEPTS, SIGHTS, TEXTS, some_photos, tiny_model
from tweetcap import PhotoError, TweetWriter
from tweetcap.model import TWEET_TONES, save_checkpoint
from tweetcap.model.tokenization_tweetcap import normalise
from tweetcap.write import writer as writer_module
from tweetcap.write.engines import ModelEngine, PackedEngine
from tweetcap.write.filters import SeenTexts, near_copies, reason_to_drop
from tweetcap.write.sampling import draw
from tweetcap.write.writer import Draft, Tweet

PHOTO = some_photos(1)[0]


@pytest.fixture(scope="module")
def writer(processor) -> TweetWriter:
    model = tiny_model(processor.tokenizer)
    # An untrained network hardly ever ends a text: this one leans to the end token at every word.
    with torch.no_grad():
        end = model.decoder.embed_tokens.weight[processor.tokenizer.eos_token_id]
        model.decoder.output_norm.bias.copy_(3 * end / end.norm())
        end.mul_(1.5)
    return TweetWriter(model, processor)


def test_a_writer_needs_nothing_that_only_training_installs():
    code = "import sys, tweetcap.write.writer as _; print(*{'datasets', 'pyarrow'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert found.stdout.split() == []


def test_the_same_seed_gives_the_same_tweets_and_another_seed_others(writer):
    first, again, other = (writer.write(PHOTO, count=5, seed=seed, temperature=1.2) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_no_seed_draws_afresh_each_time(writer):
    assert writer.write(PHOTO, temperature=1.5) != writer.write(PHOTO, temperature=1.5)


def test_what_is_streamed_ends_in_the_tweets_that_write_returns(writer):
    settings = {"count": 5, "seed": 1, "temperature": 1.2}
    pieces = list(writer.stream(PHOTO, **settings))
    tweets = [piece for piece in pieces if isinstance(piece, Tweet)]
    assert tweets == writer.write(PHOTO, **settings)
    assert pieces[-len(tweets) :] == tweets


def test_a_photo_may_be_encoded_once_for_everything(writer):
    encoded = writer.encode([PHOTO])
    assert writer.write(encoded, seed=1) == writer.write(PHOTO, seed=1)
    assert writer.describe(encoded) == writer.describe(PHOTO)
    assert writer.explain(encoded, "猫", "ツッコミ") == writer.explain(PHOTO, "猫", "ツッコミ")


def test_a_draft_grows_word_by_word_and_may_be_shown(processor):
    rambling = TweetWriter(tiny_model(processor.tokenizer), processor)  # untrained, it hardly ever ends a text
    drafts = [piece for piece in rambling.stream(PHOTO, seed=1) if isinstance(piece, Draft)]
    assert len(drafts) >= 3
    for draft, later in pairwise(drafts):
        another_round = len(later.text) <= len(draft.text)  # begins with another draft
        assert later.text.startswith(draft.text) or later.tone != draft.tone or another_round
    assert all(reason_to_drop(draft.text) in (None, "broken") for draft in drafts)


def test_texts_to_avoid_do_not_come_back(writer):
    first = writer.write(PHOTO, count=5, seed=1, temperature=1.2)
    others = writer.write(PHOTO, count=5, seed=1, temperature=1.2, avoid=[tweet.text for tweet in first])
    assert others
    assert not any(near_copies(old.text, new.text) for old in first for new in others)


def test_an_explanation_adds_up_to_the_likelihood_and_to_the_whole_attention(writer):
    text = "犬が𠮷野家の前でﾆｬｰと鳴く😀\nまた"  # known words, characters and bytes
    explanation = writer.explain(PHOTO, text, "ツッコミ", "witty")
    assert "".join(word.text for word in explanation.words) == normalise(text)
    assert explanation.words[-1].text == ""
    encoded = writer.encode([PHOTO])
    for photo, name in ((encoded, "log_prob"), (None, "null_log_prob")):
        (expected,) = writer.log_likelihoods([text], ["ツッコミ"], photo, registers=["witty"])
        assert sum(getattr(word, name) for word in explanation.words) == pytest.approx(expected, rel=1e-4)
    for word in explanation.words:
        assert np.shape(word.attention) == (explanation.rows, explanation.columns)
        assert np.sum(word.attention) + sum(word.concepts.values()) == pytest.approx(1, abs=1e-4)
        assert set(word.concepts) <= {*CONCEPTS, *(spellings[0] for spellings in SIGHTS)}


def test_every_tweet_may_be_published_and_no_two_are_near_copies(writer):
    tweets = writer.write(PHOTO, count=8, seed=3, temperature=1.3, max_length=60)
    assert 0 < len(tweets) <= 8
    assert all(reason_to_drop(tweet.text, max_length=60) is None for tweet in tweets)
    assert not any(near_copies(a.text, b.text) for i, a in enumerate(tweets) for b in tweets[:i])


def test_no_tone_means_a_mixture_and_a_tone_means_that_tone(writer):
    mixed = {tweet.tone for tweet in writer.write(PHOTO, count=10, seed=1, temperature=1.5)}
    assert len(mixed) >= 3
    assert mixed <= set(TWEET_TONES)
    assert {tweet.tone for tweet in writer.write(PHOTO, count=3, tone="大喜利", seed=1)} == {"大喜利"}


def test_a_training_text_is_never_repeated(writer):
    free = writer.write(PHOTO, count=5, seed=4, temperature=1.2)
    writer.seen = SeenTexts.from_texts([free[0].text])
    try:
        assert free[0].text not in [tweet.text for tweet in writer.write(PHOTO, count=5, seed=4, temperature=1.2)]
    finally:
        writer.seen = None


def test_likelihood_and_grounding_are_those_of_scoring_the_text_again(writer):
    encoded = writer.encode([PHOTO])
    prompt = writer.tokenizer.prompt_ids("ツッコミ", "plain")
    banned = writer._banned
    generator = torch.Generator().manual_seed(0)
    options = {"temperature": 1.0, "top_p": 0.95, "guidance": 0.7, "max_tokens": 60}
    candidates = draw(ModelEngine(writer.model), encoded, [prompt] * 24, banned=banned, generator=generator, **options)
    drawn = [
        (writer.tokenizer.decode(candidate.token_ids), candidate) for candidate in candidates if candidate.finished
    ]
    # Some texts are drawn in other pieces than the tokenizer would cut.
    alike = [(text, candidate) for text, candidate in drawn if writer.tokenizer.encode(text) == candidate.token_ids]
    assert len(alike) >= 3
    for text, candidate in alike:
        (seen,) = writer.log_likelihoods([text], ["ツッコミ"], encoded, registers=["plain"])
        (unseen,) = writer.log_likelihoods([text], ["ツッコミ"], None, registers=["plain"])
        assert candidate.log_likelihood == pytest.approx(seen, abs=1e-3)
        assert candidate.grounding == pytest.approx(seen - unseen, abs=1e-3)


@pytest.mark.parametrize("engine", [ModelEngine, partial(PackedEngine, exact=True)])
def test_greedy_drawing_agrees_with_generate_token_for_token(writer, processor, engine):
    prompt = writer.tokenizer.prompt_ids("説明")
    nothing_banned = torch.zeros_like(writer._banned)
    for photo in some_photos(3):
        (candidate,) = draw(
            engine(writer.model),
            writer.encode([photo]),
            [prompt],
            banned=nothing_banned,
            temperature=0.0,
            top_p=1.0,
            guidance=0.0,
            max_tokens=20,
        )
        inputs = processor(images=photo, tone="説明", return_tensors="pt")
        generated = writer.model.generate(**inputs, max_new_tokens=20, do_sample=False)[0].tolist()
        expected = generated[len(prompt) :]
        assert len(candidate.token_ids) >= 3
        assert expected[: len(candidate.token_ids)] == candidate.token_ids


def test_guidance_moves_texts_toward_the_photo(writer):
    encoded = writer.encode([PHOTO])
    prompts = [writer.tokenizer.prompt_ids("つぶやき", "plain")] * 64
    means = []
    for guidance in (0.0, 3.0):
        generator = torch.Generator().manual_seed(0)
        options = {"temperature": 1.0, "top_p": 1.0, "guidance": guidance, "max_tokens": 12}
        drawn = draw(ModelEngine(writer.model), encoded, prompts, banned=writer._banned, generator=generator, **options)
        means.append(np.mean([candidate.grounding for candidate in drawn]))
    assert means[1] > means[0]


@pytest.mark.parametrize("kind", ["path", "bytes", "pil", "array", "tensor"])
def test_a_photo_may_come_in_any_form(writer, tmp_path, kind):
    from PIL import Image
    from torchvision.io import write_png

    path = tmp_path / "photo.png"
    write_png(PHOTO, str(path))
    array = PHOTO.permute(1, 2, 0).numpy()
    photo = {
        "path": path,
        "bytes": path.read_bytes(),
        "pil": Image.fromarray(array),
        "array": array,
        "tensor": PHOTO,
    }[kind]
    assert writer.write(photo, seed=1) == writer.write(PHOTO, seed=1)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"count": 0}, "count 0"),
        ({"count": 2.5}, "count 2.5"),
        ({"temperature": 9.0}, "temperature 9.0"),
        ({"temperature": float("nan")}, "temperature nan"),
        ({"top_p": 0.0}, "top_p 0.0"),
        ({"guidance": -1.0}, "guidance -1.0"),
        ({"max_length": 0}, "max_length 0"),
        ({"tone": "怒り"}, "怒り"),
        ({"tone": "説明"}, "説明"),
    ],
)
def test_a_value_out_of_range_is_named(writer, settings, named):
    with pytest.raises(ValueError, match=named):
        writer.write(PHOTO, **settings)


def test_a_photo_that_is_none_raises_a_photo_error(writer):
    with pytest.raises(PhotoError):
        writer.write(b"no photo")


def test_a_saved_writer_loads_and_writes_the_same_from_a_folder(writer, processor, tmp_path):
    save_checkpoint(writer.model, processor, tmp_path, half=False)
    seen = SeenTexts.from_texts(TEXTS)
    seen.save(tmp_path / writer_module.SEEN_TEXTS)
    loaded = TweetWriter.from_pretrained(tmp_path)
    assert TEXTS[0] in loaded.seen
    assert [t.text for t in loaded.write(PHOTO, seed=5)] == [t.text for t in writer.write(PHOTO, seed=5)]
    assert loaded.describe(PHOTO) == writer.describe(PHOTO)


def test_a_folder_without_a_checkpoint_is_named_in_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="holds no TweetCap checkpoint") as error:
        TweetWriter.from_pretrained(tmp_path)
    assert "\n" not in str(error.value)


def test_encoding_many_photos_equals_encoding_each(writer):
    photos = list(some_photos(20))
    together = writer.encode(photos)
    for row in (0, 19):
        alone = writer.encode([photos[row]])
        torch.testing.assert_close(together.pooler_output[row], alone.pooler_output[0], rtol=1e-4, atol=1e-5)
    assert together.concept_ids.max() < len(CONCEPTS)
