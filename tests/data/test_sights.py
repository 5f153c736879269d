"""Detectors learn what photos make people speak of, and what training reads of a photo never saw that photo's texts."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from tests.tiny import tiny_tokenizer
from tweetcap.data.sights import Sight, SightLabels, content_words, find_sights, label_sights, teach_sights
from tweetcap.model import TweetCapConfig
from tweetcap.model.modeling_tweetcap import TweetCapEncoder

CHANNELS = 256
WORDS = ("箱", "ボール", "走る")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
def folder(tmp_path):
    """25 photos of a cat in a box; the first few of a ball too, which witty tweets alone speak of elsewhere."""
    (tmp_path / "photos").mkdir()
    rows = []
    for number in range(25):
        name = f"photos/p{number}.jpg"
        (tmp_path / name).touch()
        tweets = [{"tone": "つぶやき", "style": "witty", "text": "朝からボール"}]
        if number % 5:
            tweets.append({"tone": "つぶやき", "style": "plain", "text": "寝てる"})
        row = {"photo_id": f"p{number}", "photo": name, "split": "train", "species": "猫"}
        rows.append(row | {"caption": "猫が箱の中で寝ている", "tweets": tweets})
    (tmp_path / "photos" / "c0.jpg").touch()
    captioned = {"photo_id": "c0", "photo": "photos/c0.jpg", "split": "train", "captions": ["ボールがある"]}
    for name, table in (("starter.jsonl", rows), ("human_captions.jsonl", [captioned])):
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table)
        (tmp_path / name).write_text(lines, encoding="utf-8")
    return tmp_path


def made_photos(count: int, seed: int = 0) -> tuple[np.ndarray, SightLabels]:
    """Return pooled features, two views a photo, in which each word has a direction of its own, and the labels."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(9).normal(size=(len(WORDS), CHANNELS))
    said = rng.random((count, len(WORDS))) < 0.3
    pooled = (said @ directions)[:, None] + 0.4 * rng.normal(size=(count, 2, CHANNELS))
    return pooled.astype(np.float16), SightLabels(torch.from_numpy(said).float(), torch.ones(count))


def fresh_encoder() -> TweetCapEncoder:
    torch.manual_seed(0)
    return TweetCapEncoder(
        TweetCapConfig(
            encoder_name="test_efficientnet",
            encoder_channels=CHANNELS,
            sight_token_ids=[[5], [6], [7]],
            sight_priors=[0.3, 0.3, 0.3],
            num_sights=2,
            sight_rank=4,
        )
    )


def test_content_words_come_in_their_dictionary_forms_without_auxiliaries():
    said = content_words("犬がボールを追って走っている")
    assert [lemma for lemma, _ in said] == ["犬", "ボール", "追う", "走る"]
    assert ("走る", "走っ") in said


def test_sights_are_words_said_of_enough_photos_and_neither_animals_nor_jokes(folder, tokenizer):
    sights = {sight.lemma: sight for sight in find_sights(folder, tokenizer)}
    assert set(sights) == {"箱", "中", "寝る"}  # 猫 is an animal, ボール and 朝 are jokes
    assert sights["箱"] == Sight("箱", (tokenizer.encode("箱")[0],), 1.0)
    assert sights["寝る"].token_ids == (tokenizer.encode("寝")[0],)


def test_a_photo_is_labelled_with_every_literal_text_about_it(folder):
    photos = folder / "photos"
    paths = [photos / "p0.jpg", photos / "c0.jpg", photos / "unknown.jpg"]
    labels = label_sights(folder, paths, ["箱", "ボール", "寝る"])
    assert labels.said.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]
    assert labels.weight[0] == 1 > labels.weight[1] > labels.weight[2] == 0


def test_detectors_find_in_new_photos_what_they_were_taught():
    pooled, labels = made_photos(400)
    encoder = fresh_encoder()
    teach_sights(encoder, pooled, labels)
    others, expected = made_photos(100, seed=1)
    found = encoder.find_sights(torch.from_numpy(others).float()).exp()
    assert found.shape == (100, 2, len(WORDS))
    assert ((found[:, 0] > 0.5) == expected.said.bool()).float().mean() > 0.95


def test_what_training_reads_of_a_photo_does_not_hang_on_its_own_texts():
    pooled, labels = made_photos(60)
    first = teach_sights(fresh_encoder(), pooled, labels)
    lying = labels.said.clone()
    lying[7] = 1 - lying[7]
    second = teach_sights(fresh_encoder(), pooled, dataclasses.replace(labels, said=lying))
    np.testing.assert_array_equal(first[7], second[7])
    assert not np.array_equal(first, second)


def test_a_corpus_smaller_than_the_folds_is_enough():
    pooled, labels = made_photos(2)
    assert np.isfinite(teach_sights(fresh_encoder(), pooled, labels)).all()


def test_teaching_is_repeatable_to_the_last_bit():
    pooled, labels = made_photos(60)
    encoders = [fresh_encoder(), fresh_encoder()]
    found = [teach_sights(encoder, pooled, labels) for encoder in encoders]
    np.testing.assert_array_equal(*found)
    for name, tensor in encoders[0].sight_head.state_dict().items():
        assert torch.equal(tensor, encoders[1].sight_head.state_dict()[name])
