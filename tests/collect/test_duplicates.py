"""Copies are found whatever was done to them, different photos stay apart, and the fast search misses no pair."""

import io

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from tests.collect.archives import jpeg
from tweetcap.collect.duplicates import cluster_photos, cluster_texts, near_pairs
from tweetcap.collect.posts import PhotoRecord
from tweetcap.write.filters import fold


def record(key: str, image: Image.Image, sha256: str | None = None) -> PhotoRecord:
    return PhotoRecord(key, None, path="x", sha256=sha256 or key, perceptual_hash=str(imagehash.phash(image)))


def photo(seed: int) -> Image.Image:
    return Image.open(io.BytesIO(jpeg(seed, (320, 240))))


def resaved(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


COPIES = {
    "smaller": lambda image: image.resize((140, 105)),
    "larger": lambda image: image.resize((640, 480)),
    "stretched": lambda image: image.resize((320, 200)),
    "low quality": lambda image: resaved(image, 20),
    "brighter": lambda image: image.point(lambda level: min(255, int(level * 1.2))),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "mirrored": ImageOps.mirror,
    "cropped": lambda image: image.crop((5, 4, 315, 236)),
}


@pytest.mark.parametrize("name", COPIES)
def test_copies_of_a_photo_are_one_cluster_and_other_photos_are_not(name):
    photos = {f"3_{seed}": record(f"3_{seed}", photo(seed)) for seed in range(40)}
    copies = {f"4_{seed}": record(f"4_{seed}", COPIES[name](photo(seed))) for seed in range(40)}
    clusters = cluster_photos(photos | copies)
    assert all(clusters[f"3_{seed}"] == f"3_{seed}" for seed in range(40))
    found = sum(clusters[f"4_{seed}"] == f"3_{seed}" for seed in range(40))
    assert found >= (30 if name in ("cropped", "mirrored") else 38)


def test_the_same_file_is_a_duplicate_even_where_the_hash_says_nothing():
    blank = Image.new("RGB", (64, 64), "black")
    photos = {key: record(key, blank, sha) for key, sha in (("3_1", "a"), ("3_2", "a"), ("3_3", "b"))}
    assert cluster_photos(photos) == {"3_1": "3_1", "3_2": "3_1", "3_3": "3_3"}


def test_photos_without_a_file_are_left_out():
    failed = PhotoRecord("3_9", None, error="It is gone.")
    assert cluster_photos({"3_9": failed, "3_1": record("3_1", photo(1))}) == {"3_1": "3_1"}
    assert cluster_photos({}) == {}


def test_sameness_is_carried_on_and_the_order_does_not_matter():
    base = int(str(imagehash.phash(photo(1))), 16)
    steps = [base, base ^ 0b111_0111, base ^ 0b111_0111 ^ (0b111_0111 << 20)]
    photos = {
        f"3_{n}": PhotoRecord(f"3_{n}", None, "x", str(n), perceptual_hash=f"{h:016x}") for n, h in enumerate(steps)
    }
    assert set(cluster_photos(photos).values()) == {"3_0"}
    assert cluster_photos(dict(reversed(photos.items()))) == cluster_photos(photos)
    del photos["3_1"]
    assert cluster_photos(photos) == {"3_0": "3_0", "3_2": "3_2"}


@given(
    st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(0, 7), st.lists(st.integers(0, 63), max_size=12)), max_size=40),
    st.integers(0, 12),
)
@settings(deadline=None)
def test_the_search_finds_the_pairs_that_comparing_all_with_all_finds(bases, changes, limit):
    hashes = np.array(
        [*bases, *(bases[which % len(bases)] ^ sum(1 << bit for bit in set(bits)) for which, bits in changes)],
        np.uint64,
    )
    distances = np.bitwise_count(hashes[:, None] ^ hashes[None])
    expected = {(i, j) for i, j in zip(*np.nonzero(distances <= limit), strict=True) if i < j and distances[i, j] > 0}
    pairs = {tuple(sorted(map(int, pair))) for found in near_pairs(hashes, limit) for pair in found}
    for i, j in pairs:
        assert distances[i, j] <= limit
    # Of equal hashes one stands for all: joined as a chain, they come to the same sets.
    first = {int(value): int(np.flatnonzero(hashes == value)[0]) for value in hashes}
    named = {tuple(sorted((first[int(hashes[i])], first[int(hashes[j])]))) for i, j in pairs}
    assert {tuple(sorted((first[int(hashes[i])], first[int(hashes[j])]))) for i, j in expected} <= named


def test_a_crowded_bucket_is_compared_in_blocks_and_whole():
    rng = np.random.default_rng(0)
    hashes = (rng.integers(0, 2**20, 3000, dtype=np.uint64) << np.uint64(40)) | np.uint64(0x1234567890)
    pairs = {tuple(sorted(map(int, pair))) for found in near_pairs(hashes, 2) for pair in found}
    sample = rng.integers(0, 3000, (20000, 2))
    for i, j in sample:
        if i != j and 0 < np.bitwise_count(hashes[i] ^ hashes[j]) <= 2:
            same = {(a, b) for a in np.flatnonzero(hashes == hashes[i]) for b in np.flatnonzero(hashes == hashes[j])}
            assert any(tuple(sorted(map(int, pair))) in pairs for pair in same)


# --- Texts ----------------------------------------------------------------------------------------

LONG = "飼い主が帰ってきたのに箱から出てこないうちの猫です"


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (LONG + "😂😂", True),
        (LONG.replace("の", "の、"), True),
        (LONG + "！", True),
        (LONG[:-1] + "だ", True),
        (LONG.replace("猫", "犬"), True),
        ("今日も" + LONG, True),
        (LONG[:12], False),
        ("帰ってきた飼い主のところへ走っていくうちの犬でした", False),
        ("箱から出てこない猫と、それを待つ飼い主と、夕ごはん", False),
    ],
)
def test_texts_that_say_the_same_are_one_cluster(other, same):
    clusters = cluster_texts({"1": LONG, "2": other})
    assert (clusters.get("2") == "1") is same


def test_short_texts_are_anybodys():
    assert cluster_texts({"1": "おはようございます", "2": "おはようございます"}) == {}


@given(st.lists(st.text("あいうえお猫犬ー", min_size=14, max_size=24), max_size=12), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_search_for_texts_finds_what_comparing_all_with_all_finds(texts, rng):
    texts = texts + [text[:5] + rng.choice("あ猫") + text[5:] for text in texts]
    folded = {str(n): fold(text) for n, text in enumerate(texts)}

    def bigrams(letters):
        return [letters[n : n + 2] for n in range(len(letters) - 1)]

    def dice(a, b):
        a, b = bigrams(a), bigrams(b)
        rest = list(b)
        overlap = sum(rest.remove(x) is None for x in a if x in rest)
        return 2 * overlap / (len(a) + len(b))

    clusters = cluster_texts({key: text for key, text in zip(folded, texts, strict=True)})
    for one in clusters:
        for other in clusters:
            if dice(folded[one], folded[other]) >= 0.85 + 1e-9:
                assert clusters[one] == clusters[other]
    shuffled = list(zip(folded, texts, strict=True))
    rng.shuffle(shuffled)
    assert cluster_texts(dict(shuffled)) == clusters
