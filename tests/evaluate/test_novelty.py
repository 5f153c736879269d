"""Copies and copied spans, against a search that tries everything."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tweetcap.evaluate.novelty import is_copy, longest_copied_spans
from tweetcap.evaluate.words import words_of
from tweetcap.write.filters import fold


def test_copies_are_found_behind_signs_and_emoji_and_nowhere_else():
    training = {fold("犬が走ってる！"), fold("…")}
    texts = ["犬が 走ってる😂", "犬が走ってるよ", "！", "😂"]
    assert [is_copy(text, training) for text in texts] == [True, False, False, False]


def test_the_longest_span_is_counted_in_words_and_never_crosses_from_text_to_text():
    training = ["犬が草の上を", "走っている", "猫が寝ている"]
    assert longest_copied_spans(["犬が草の上を走っている"], training) == [6]
    assert longest_copied_spans(["馬が寝ている", "空", ""], training) == [4, 0, 0]


def test_no_training_texts_or_no_texts_are_no_trouble():
    assert longest_copied_spans(["犬がいる"], []) == [0]
    assert longest_copied_spans([], ["犬がいる"]) == []


def brute(text: str, training: list[str]) -> int:
    words, trained = words_of(text), [words_of(one) for one in training]
    return max(
        (
            end - start
            for start in range(len(words))
            for end in range(start + 1, len(words) + 1)
            if any(words[start:end] == one[at : at + end - start] for one in trained for at in range(len(one)))
        ),
        default=0,
    )


SENTENCES = st.lists(st.text(alphabet="犬猫馬。", max_size=9), max_size=5)


@settings(max_examples=150, deadline=None)
@given(texts=SENTENCES, training=SENTENCES)
def test_spans_are_those_of_a_search_that_tries_everything(texts, training):
    assert longest_copied_spans(texts, training) == [brute(text, training) for text in texts]
