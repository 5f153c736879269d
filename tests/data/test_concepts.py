"""Class rows learn the corpus's animals, and what training reads of a photo never saw that photo's label."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn

from tweetcap.data.animals import concepts
from tweetcap.data.concepts import ConceptLabels, concept_words, label_photos, teach_concepts
from tweetcap.model import TweetCapConfig
from tweetcap.model.modeling_tweetcap import TweetCapEncoder

CHANNELS = 256
SPECIES = ["犬"] * 6 + ["キリン"] * 5 + ["猫", "なし", "シカ"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos").mkdir()
    rows = []
    for number, species in enumerate(SPECIES):
        name = f"photos/p{number}.jpg"
        (tmp_path / name).touch()
        rows.append({"photo_id": f"p{number}", "photo": name, "split": "train", "species": species})
    (tmp_path / "photos" / "c0.jpg").touch()
    captioned = {"photo_id": "c0", "photo": "photos/c0.jpg", "split": "train"}
    save(tmp_path / "starter.jsonl", [row | {"caption": "説明", "tweets": []} for row in rows])
    save(tmp_path / "human_captions.jsonl", [captioned | {"captions": ["羊がいる", "草原に羊と犬"]}])
    return tmp_path


def save(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def made_photos(count: int, seed: int = 0) -> tuple[np.ndarray, ConceptLabels, list[str]]:
    """Return pooled features in three clouds (犬, キリン, no animal), two views a photo, and their labels."""
    words = [*concepts(), "キリン"]
    rng = np.random.default_rng(seed)
    kind = np.arange(count) % 3
    centres = np.random.default_rng(9).normal(size=(3, 1, CHANNELS))
    pooled = centres[kind] + 0.4 * rng.normal(size=(count, 2, CHANNELS))
    fits = torch.zeros(count, len(words) + 1, dtype=torch.bool)
    fits[torch.arange(count), torch.tensor([words.index("犬"), words.index("キリン"), len(words)])[kind]] = True
    return pooled.astype(np.float16), ConceptLabels(fits, torch.ones(count)), words


def fresh_encoder(words: list[str]) -> TweetCapEncoder:
    rows = {**concepts(), "キリン": [398]}
    return TweetCapEncoder(
        TweetCapConfig(
            encoder_name="test_efficientnet",
            encoder_channels=CHANNELS,
            concept_classes=[rows[word] for word in words],
            concept_token_ids=[[5]] * len(words),
            num_classes=400,
            num_concepts=2,
        )
    )


@pytest.fixture(scope="module")
def imagenet() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(CHANNELS, 1000)


def test_an_animal_that_imagenet_lacks_gets_a_row_when_enough_photos_show_it(folder):
    words = concept_words(folder)
    assert list(words)[: len(concepts())] == list(concepts())
    assert words["キリン"] == [398]  # behind ImageNet's last animal
    assert not {"シカ", "なし"} & set(words)


def test_the_starter_s_species_counts_before_captions_and_captions_where_there_is_none(folder):
    words = list(concept_words(folder))
    photos = folder / "photos"
    labels = label_photos(folder, [photos / f"p{n}.jpg" for n in (0, 6, 12, 13)] + [photos / "c0.jpg"], words)
    right = [{(*words, "no animal")[place] for place in row.nonzero().squeeze(1)} for row in labels.fits]
    assert "犬" in right[0] and "猫" not in right[0]
    assert right[1:3] == [{"キリン"}, {"no animal"}]
    assert {"羊", "犬"} <= right[4]
    assert labels.weight[3] == 0  # no concept names it, so nothing can be learnt
    assert 0 < labels.weight[4] < labels.weight[0]


def test_taught_rows_name_animals_on_photos_that_they_never_saw(imagenet):
    pooled, labels, words = made_photos(60)
    encoder = fresh_encoder(words)
    teach_concepts(encoder, imagenet, pooled, labels)
    others, _, _ = made_photos(30, seed=1)
    ids, log_probs = encoder.find_concepts(torch.from_numpy(others[:, 0]).float())
    best = [words[place] for place in ids[:, 0]]
    assert best[0::3] == ["犬"] * 10
    assert best[1::3] == ["キリン"] * 10
    assert log_probs[2::3].exp().max() < 0.5  # no animal, and so none is likely
    assert log_probs[0::3, 0].exp().min() > 0.5


def test_what_training_reads_of_a_photo_does_not_depend_on_its_own_label(imagenet):
    pooled, labels, words = made_photos(30)
    first, _ = teach_concepts(fresh_encoder(words), imagenet, pooled, labels)
    lying = labels.fits.clone()
    lying[4] = lying[0]  # a キリン that claims to be a 犬
    second, _ = teach_concepts(fresh_encoder(words), imagenet, pooled, dataclasses.replace(labels, fits=lying))
    assert first.shape == (30, 2, 2)
    assert np.array_equal(first[4], second[4])


@pytest.mark.parametrize("count", [1, 3])
def test_a_handful_of_photos_is_enough(imagenet, count):
    pooled, labels, words = made_photos(count)
    encoder = fresh_encoder(words)
    assert teach_concepts(encoder, imagenet, pooled, labels)[0].shape == (count, 2, 2)
    assert encoder.class_head.weight.isfinite().all()


def test_the_same_photos_teach_the_same_rows(imagenet):
    pooled, labels, words = made_photos(30)
    encoders = [fresh_encoder(words) for _ in range(2)]
    found = [teach_concepts(encoder, imagenet, pooled, labels) for encoder in encoders]
    assert all(np.array_equal(one, other) for one, other in zip(*found, strict=True))
    assert torch.equal(*(encoder.class_head.weight for encoder in encoders))
