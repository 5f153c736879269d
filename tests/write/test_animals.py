"""A photo's concepts decide which animals may be named, in the embedded vocabulary."""

import pytest
import torch

from tweetcap.model import TweetCapEncoderOutput, TweetCapTokenizer
from tweetcap.write.animals import AnimalWords, forbid
from tweetcap.write.writer import EMBEDDED

CONCEPTS = ["犬", "猫", "水鳥", "トカゲ", "鳥"]


@pytest.fixture(scope="module")
def tokenizer() -> TweetCapTokenizer:
    return TweetCapTokenizer.from_pretrained(EMBEDDED)


@pytest.fixture(scope="module")
def words(tokenizer) -> AnimalWords:
    return AnimalWords(tokenizer, CONCEPTS)


def photo(*concepts: tuple[str, float]) -> TweetCapEncoderOutput:
    ids = torch.tensor([[CONCEPTS.index(word) for word, _ in concepts]])
    return TweetCapEncoderOutput(
        concept_ids=ids, concept_log_probs=torch.tensor([[probability for _, probability in concepts]]).log()
    )


def test_only_likely_concepts_are_allowed_with_their_more_general_and_their_young_names(words):
    allowed = words.allowed(photo(("猫", 0.8), ("犬", 0.15), ("トカゲ", 0.01)))
    assert {"猫", "子猫"} <= allowed
    assert not {"犬", "トカゲ"} & allowed
    assert {"犬", "猫"} <= words.allowed(photo(("猫", 0.4), ("犬", 0.3)))
    assert "鳥" in words.allowed(photo(("水鳥", 0.9), ("鳥", 0.05)))
    assert not words.allowed(photo(("犬", 0.03), ("猫", 0.01)))  # most likely no animal at all


def test_the_words_of_other_animals_are_banned_and_no_part_of_an_allowed_one(words, tokenizer):
    banned = set(words.banned(words.allowed(photo(("水鳥", 0.9), ("犬", 0.02)))))
    tokens = {word: tokenizer.encode(word) for word in ("犬", "猫", "水鳥", "鳥")}
    assert {*tokens["犬"], *tokens["猫"]} <= banned
    assert not banned & {*tokens["水鳥"], *tokens["鳥"]}
    grammar = tokenizer.encode("行くかもしれない、ここにいるからね")
    assert not banned & set(grammar)


def test_a_text_that_spells_out_another_animal_is_told_from_one_that_names_a_right_one_or_none(words):
    allowed = words.allowed(photo(("猫", 0.9), ("犬", 0.02)))
    assert words.names_another("アザラシが寝てる", allowed)
    assert not words.names_another("猫がアザラシのように寝てる", allowed)
    assert not words.names_another("寝てるだけでかわいい", allowed)


def test_a_network_without_concepts_may_say_everything(tokenizer):
    words = AnimalWords(tokenizer, [])
    assert words.allowed(TweetCapEncoderOutput()) is None
    assert words.banned(None) == []
    assert not words.names_another("犬だ", None)


def test_forbidding_leaves_the_mask_it_was_given_as_it_is():
    mask = torch.tensor([True, False, False])
    assert forbid(mask, [2]).tolist() == [True, False, True]
    assert mask.tolist() == [True, False, False]
