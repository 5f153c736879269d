"""The tokenizer loses nothing, whatever it is given and wherever it runs."""

import pickle

import pytest
from datasets import Dataset
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.tiny import TEXTS, tiny_tokenizer
from tweetcap.model import TONES, TweetCapTokenizer, normalise, split_words

TEXT = st.text(st.characters(exclude_categories=())) | st.lists(
    st.sampled_from(
        [*TEXTS, "ｶﾞ", "\r\n", "\u3000", "<pad>", "<0xE3>", "<説明>", "👨‍👩‍👧", "(´・ω・`)", "\x00", "ﾞ", "が"]
    )
).map("".join)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> TweetCapTokenizer:
    return tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@given(TEXT)
@example("<s>猫</s>")
@example("\ud800猫")
@example("ヽ(ﾟ∀ﾟ)ﾉ\n改行も  空白も")
@example("長い" * 1500)
@settings(deadline=None, max_examples=300)
def test_decoding_what_was_encoded_gives_the_normalised_text(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == normalise(text)
    assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True) == normalise(text)


@given(TEXT)
@settings(deadline=None, max_examples=300)
def test_normalising_twice_changes_nothing(text):
    assert normalise(normalise(text)) == normalise(text)


@given(TEXT)
@settings(deadline=None, max_examples=200)
def test_words_joined_are_the_text(text):
    assert "".join(split_words(normalise(text))) == normalise(text)


def test_normalising_keeps_kaomoji_and_wide_marks_and_folds_letters_digits_and_kana():
    assert normalise("(´・ω・`)！？") == "(´・ω・`)！？"
    assert normalise("ＡＢＣ１２３　ｶﾞﾝﾊﾞﾚ\r\nw") == "ABC123 ガンバレ\nw"


def test_special_tokens_written_in_a_text_stay_text(tokenizer):
    ids = tokenizer.encode("<pad></s><説明>")
    assert not set(ids) & set(tokenizer.all_special_ids)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_padded_batch_holds_each_text_alone(tokenizer, side):
    batch = tokenizer(list(TEXTS), padding=True, padding_side=side, return_tensors="pt")
    assert batch["input_ids"].shape == batch["attention_mask"].shape
    for text, ids, mask in zip(TEXTS, batch["input_ids"], batch["attention_mask"], strict=True):
        assert ids[mask.bool()].tolist() == tokenizer.encode(text)
        assert set(ids[~mask.bool()].tolist()) <= {tokenizer.pad_token_id}
    assert tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True) == list(TEXTS)


def test_a_pickled_tokenizer_agrees(tokenizer):
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert [copy.encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]


def test_mapping_in_two_processes_agrees_with_one(tokenizer, tmp_path):
    rows = Dataset.from_dict({"text": list(TEXTS) * 4})

    def encode(row):
        return {"ids": tokenizer.encode(row["text"])}

    one = rows.map(encode, cache_file_name=str(tmp_path / "one.arrow"))
    two = rows.map(encode, num_proc=2, cache_file_name=str(tmp_path / "two.arrow"))
    assert one["ids"] == two["ids"] == [tokenizer.encode(text) for text in rows["text"]]


def test_a_saved_tokenizer_loads_the_same(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = TweetCapTokenizer.from_pretrained(tmp_path)
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert loaded.all_special_ids == tokenizer.all_special_ids
    assert [loaded.encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]


def test_a_prompt_is_begin_tone_register(tokenizer):
    assert tokenizer.convert_ids_to_tokens(tokenizer.prompt_ids("大喜利", "witty")) == [
        "<s>",
        "<大喜利>",
        "<witty>",
    ]
    assert len({tuple(tokenizer.prompt_ids(tone)) for tone in TONES}) == len(TONES)


@pytest.mark.parametrize(("tone", "register", "named"), [("怒り", None, "怒り"), ("ほっこり", "dry", "dry")])
def test_an_unknown_tone_or_register_is_named(tokenizer, tone, register, named):
    with pytest.raises(ValueError, match=named):
        tokenizer.prompt_ids(tone, register)


def test_a_vocabulary_without_its_reserved_tokens_is_refused(tmp_path):
    path = tmp_path / "vocab.json"
    path.write_text('["猫"]')
    with pytest.raises(ValueError, match="special and byte tokens"):
        TweetCapTokenizer(str(path))


def test_bytes_that_are_no_utf8_decode_to_replacement_characters(tokenizer):
    ids = tokenizer.convert_tokens_to_ids(["<0xE3>", "<0x81>", "<0xFF>"])
    assert tokenizer.decode(ids) == "\ufffd\ufffd"
