"""What the detectors say of a photo decides which words may be drawn, and how a text's words go with it."""

import pytest
import torch

from tests.tiny import SIGHTS, tiny_model
from tweetcap.model import TweetCapEncoderOutput
from tweetcap.write.sights import LEAST_LIFT, SightWords


@pytest.fixture(scope="module")
def words(processor):
    return SightWords(tiny_model(processor.tokenizer).config)


def photo(words: SightWords, **lifts: float) -> TweetCapEncoderOutput:
    """Return a photo that makes the sights likelier by so many nats."""
    more = torch.tensor([lifts.get(spellings[0], 0.0) for spellings in SIGHTS])
    return TweetCapEncoderOutput(sight_log_probs=(words.log_priors + more)[None])


def test_words_of_things_that_plainly_are_not_there_are_banned_in_all_their_spellings(words, processor):
    lifts = words.lifts(photo(words, 寝=LEAST_LIFT - 0.1, 箱=LEAST_LIFT + 0.1, 朝=2.0))
    expected = {processor.tokenizer.encode(spelling)[0] for spelling in SIGHTS[1]}
    assert set(words.banned(lifts)) == expected


def test_a_text_is_as_fitting_as_its_words_and_each_counts_once(words, processor):
    lifts = words.lifts(photo(words, 寝=1.0, 箱=0.5, ボール=-1.0))
    encode = processor.tokenizer.encode
    assert words.lift(encode("猫"), lifts) == 0
    assert words.lift(encode("箱の中の箱"), lifts) == pytest.approx(0.5)
    assert words.lift(encode("箱で寝ている寝起きの犬"), lifts) == pytest.approx(1.5)
    assert words.lift(encode("箱とボール"), lifts) == pytest.approx(-0.5)


def test_a_network_without_sights_bans_nothing_and_has_no_opinion(processor):
    model = tiny_model(processor.tokenizer, sight_token_ids=None, sight_priors=None, num_sights=0)
    words = SightWords(model.config)
    lifts = words.lifts(TweetCapEncoderOutput())
    assert words.banned(lifts) == [] and words.lift([300, 301], lifts) == 0
