"""What is built from a collection loads as it was planned, whole and streamed, and its splits leak nothing."""

import io
import json
import os
from collections import Counter, defaultdict

import numpy as np
import pytest
from datasets import load_dataset
from huggingface_hub import DatasetCard
from PIL import Image

from tests.collect.archives import jpeg
from tests.collect.collections import make_collection, media_key, post, post_id, sentence, some_posts, user_id
from tweetcap.collect.corpus import (
    CORPORA,
    LABELS,
    CorpusSettings,
    build_corpus,
    plan_corpus,
    read_tones,
    weights,
)
from tweetcap.collect.posts import derive_posts, read_photos
from tweetcap.collect.raw import write_rows
from tweetcap.data.publish import PublishError, push_dataset


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """Six accounts: one steals photos of another, one has its greeting, some posts are worthless."""
    posts = some_posts(6, 12)
    posts[0] = [post(0, number, f"おはようございます☀️\n{sentence(0, number)}") for number in range(24)]
    posts[1].append(post(1, 50, "LINEスタンプ発売中です"))
    posts[1].append(post(1, 51, "This is my cat"))
    posts[1].append(post(1, 52, photos=3))
    posts[2].append(post(2, 53, sentence(2, 3), photos=1))  # the same words, another photo
    posts[2].append(post(2, 54, sentence(2, 3)))
    stolen = {
        media_key(3, 2): jpeg(int(media_key(4, 5)[2:]) % 2**32, (96, 72), 60),
        media_key(2, 54): jpeg(int(media_key(2, 3)[2:]) % 2**32),
    }
    return make_collection(tmp_path_factory.mktemp("collection"), posts, stolen)


@pytest.fixture(scope="module")
def corpus(collection, tmp_path_factory):
    output = tmp_path_factory.mktemp("corpus") / "corpus"
    return output, *build_corpus(collection, output)


def load(folder, tmp_path, **more):
    return load_dataset(str(folder), cache_dir=str(tmp_path / "cache"), **more)


def test_a_corpus_loads_with_what_was_planned_and_with_the_photos_bytes(collection, corpus, tmp_path):
    output, built, _ = corpus
    plan = plan_corpus(collection, CorpusSettings())
    loaded = load(output, tmp_path)
    assert {split: len(rows) for split, rows in loaded.items()} == {s: n for s, n in built.rows.items() if n}
    photos = read_photos(collection)
    for split, rows in loaded.items():
        raw = rows.cast_column("image", rows.features["image"].__class__(decode=False))
        for row, planned in zip(raw, plan.rows[split], strict=True):
            assert row["image"]["bytes"] == (collection / photos[row["media_key"]].path).read_bytes()
            assert row["split"] == split
            for name, value in planned.items():
                if name not in ("path", "sha256", "weight"):
                    assert row[name] == value, name
            assert row["weight"] == pytest.approx(planned["weight"])
    assert np.asarray(loaded["train"][0]["image"]).shape == (48, 64, 3)


def test_streaming_gives_the_same_rows(corpus, tmp_path):
    output, _, _ = corpus
    whole = load(output, tmp_path)
    for split, rows in load(output, tmp_path, streaming=True).items():
        assert [row["post_id"] for row in rows] == whole[split]["post_id"]
        assert next(iter(rows))["image"].size == (64, 48)


def test_texts_are_cleaned_and_drops_are_counted(collection, corpus, tmp_path):
    output, _, report = corpus
    texts = {row["post_id"]: row["text"] for rows in load(output, tmp_path).values() for row in rows}
    assert texts[post_id(0, 3)] == sentence(0, 3)
    assert report["dropped"] == {"promotion": 1, "language": 1, "repeated": 1}
    assert report["boilerplate"] == {"accounts": 1, "phrases": 1, "posts": 24}
    assert report["posts"] == len(derive_posts(collection)) == report["kept"] + 3
    assert json.loads((output / "report.json").read_text()) == report
    assert "番目" not in (output / "report.json").read_text() and "animal_" not in (output / "report.json").read_text()


def test_an_account_that_shows_anothers_photo_shares_its_split(corpus, tmp_path):
    output, _, report = corpus
    splits = defaultdict(set)
    for rows in load(output, tmp_path).values():
        for row in rows.select_columns(["split", "user_id"]):
            splits[row["user_id"]].add(row["split"])
    assert all(len(found) == 1 for found in splits.values())
    assert splits[user_id(3)] == splits[user_id(4)]
    assert report["photo_clusters"] == {"clusters": 2, "photos": 4}  # one within an account
    assert report["splits"]["groups_of_accounts"] == [2]


def test_no_name_of_an_account_is_in_a_corpus(corpus):
    output, _, _ = corpus
    for path in output.rglob("*"):
        assert not path.is_file() or b"animal_0" not in path.read_bytes()


def test_a_corpus_is_refused_by_push_and_its_card_is_valid(corpus):
    output, built, _ = corpus
    card = DatasetCard.load(output / "README.md")
    assert card.data.to_dict()["tweetcap"] == {"content": "posts"}
    sizes = {split["name"]: split["num_examples"] for split in card.data.to_dict()["dataset_info"]["splits"]}
    assert sizes == {split: rows for split, rows in built.rows.items() if rows}
    with pytest.raises(PublishError, match="post IDs only"):
        push_dataset(output, "me/posts")


def test_all_photos_of_a_post_get_a_row_when_asked_for(collection, tmp_path):
    plan = plan_corpus(collection, CorpusSettings(all_photos=True))
    rows = [row for rows in plan.rows.values() for row in rows if row["post_id"] == post_id(1, 52)]
    assert [(row["photo_index"], row["media_key"]) for row in rows] == [(n, media_key(1, 52, n)) for n in range(3)]
    one = [row for rows in plan_corpus(collection, CorpusSettings()).rows.values() for row in rows]
    assert [row["photo_index"] for row in one if row["post_id"] == post_id(1, 52)] == [0]


def test_the_first_photo_that_is_there_stands_for_a_post(tmp_path):
    posts = {account: [post(account, n, photos=2) for n in range(3)] for account in range(3)}
    broken = {media_key(0, 0, 0): b"no photo", media_key(0, 1, 0): b"none", media_key(0, 1, 1): b"none"}
    collection = make_collection(tmp_path / "c", posts, broken)
    plan = plan_corpus(collection, CorpusSettings())
    rows = {row["post_id"]: row for rows in plan.rows.values() for row in rows}
    assert rows[post_id(0, 0)]["photo_index"] == 1
    assert post_id(0, 1) not in rows and plan.report["dropped"] == {"no_photo": 1}


def test_a_photo_that_was_lost_or_changed_costs_its_row_alone(tmp_path):
    collection = make_collection(tmp_path / "c", some_posts(3, 4))
    photos = read_photos(collection)
    (collection / photos[media_key(0, 0)].path).unlink()
    (collection / photos[media_key(1, 0)].path).write_bytes(jpeg(1))
    built, report = build_corpus(collection, tmp_path / "out")
    assert sum(built.rows.values()) == 10
    assert report["left_out"] == {"the photo's file is missing": 1, "the photo's file was changed": 1}


def test_half_an_emoji_in_a_description_does_not_stop_the_corpus(tmp_path):
    folder = make_collection(tmp_path / "c", some_posts(3, 4))
    pages = (folder / "raw/pages.jsonl").read_text("utf-8")
    (folder / "raw/pages.jsonl").write_text(pages.replace('"alt_text": "写真', '"alt_text": "\\ud83d写真'), "utf-8")
    build_corpus(folder, tmp_path / "corpus")
    texts = load(tmp_path / "corpus", tmp_path)["train"]["alt_text"]
    assert texts and all(text.startswith("?写真") for text in texts)


def test_building_again_changes_nothing_and_more_posts_need_overwrite(tmp_path):
    posts = some_posts(4, 5)
    collection = make_collection(tmp_path / "c", posts)
    build_corpus(collection, tmp_path / "out")
    before = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*.parquet")}
    built, _ = build_corpus(collection, tmp_path / "out")
    assert built.shards == 0 and before == {p: p.read_bytes() for p in before}
    make_collection(collection, {7: [post(7, n) for n in range(3)]})
    with pytest.raises(ValueError, match="--overwrite"):
        build_corpus(collection, tmp_path / "out")
    built, _ = build_corpus(collection, tmp_path / "out", overwrite=True)
    assert sum(built.rows.values()) == 23


def test_a_corpus_of_accounts_that_all_steal_is_built_again_as_it_was(tmp_path):
    posts = some_posts(6, 8)
    stolen = {media_key(account, 7): jpeg(int(media_key(0, account)[2:]) % 2**32) for account in range(1, 6)}
    collection = make_collection(tmp_path / "c", posts, stolen)
    _, report = build_corpus(collection, tmp_path / "out")
    assert "6 accounts share photos or texts, too many for one split" in report["notes"][0]
    assert 0 < report["dropped"]["copy"] < 5  # a copy within a split stays
    built, again = build_corpus(collection, tmp_path / "out")
    assert built.shards == 0 and again == report


def test_accounts_keep_their_splits_when_the_collection_grows(tmp_path):
    collection = make_collection(tmp_path / "c", some_posts(6, 6))
    _, first = build_corpus(collection, tmp_path / "one")
    before = {
        row["user_id"]: split for split, rows in plan_corpus(collection, CorpusSettings()).rows.items() for row in rows
    }
    make_collection(collection, {account: [post(account, 100 + n) for n in range(20)] for account in (0, 8, 9)})
    after = {
        row["user_id"]: split for split, rows in plan_corpus(collection, CorpusSettings()).rows.items() for row in rows
    }
    assert before.items() <= after.items() and len(after) == 8
    assert first["splits"]["by"] == "account"


def test_tones_come_from_a_file_and_are_null_elsewhere(collection, tmp_path):
    path = tmp_path / "tones.csv"
    path.write_text(
        f"post_id,tone,remark\n{post_id(0, 1)},ほっこり,x\n{post_id(0, 2)},,\n77,大喜利,\n", encoding="utf-8-sig"
    )
    plan = plan_corpus(collection, CorpusSettings(), tones=read_tones(path))
    tones = {row["post_id"]: row["tone"] for rows in plan.rows.values() for row in rows}
    assert tones[post_id(0, 1)] == "ほっこり" and Counter(tones.values())[None] == len(tones) - 1
    assert plan.report["tones_without_a_row"] == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,tone\n1,ほっこり\n", "columns post_id and tone"),
        ("", "columns post_id and tone"),
        ("post_id,tone\n1,ほっこり\n2,楽しい\n", "line 3 has the tone '楽しい'"),
    ],
)
def test_a_file_of_tones_that_is_wrong_is_named(tmp_path, content, message):
    path = tmp_path / "tones.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_tones(path)
    with pytest.raises(ValueError, match="can't be read"):
        read_tones(tmp_path / "none.csv")
    path.write_bytes("post_id,tone\n1,ほっこり\n".encode("cp932"))
    with pytest.raises(ValueError, match="no CSV file in UTF-8"):
        read_tones(path)


def test_weights_have_the_mean_1_in_each_account_and_grow_with_likes(collection):
    posts = derive_posts(collection)
    found = weights(posts)
    by_account = defaultdict(list)
    for row in posts:
        by_account[row.user_id].append((row.likes, found[row.post_id]))
    for pairs in by_account.values():
        assert np.mean([weight for _, weight in pairs]) == pytest.approx(1, abs=1e-5)
        ordered = [weight for _, weight in sorted(pairs)]
        assert ordered == sorted(ordered) and 0.5 < ordered[0] and ordered[-1] < 1.5
        assert len({weight for _, weight in pairs}) == len({likes for likes, _ in pairs})


def test_what_is_no_collection_or_an_empty_one_is_named(tmp_path):
    with pytest.raises(ValueError, match="is no collection"):
        build_corpus(tmp_path, tmp_path / "out")
    (tmp_path / "raw").mkdir()
    with pytest.raises(ValueError, match="holds no post with a photo"):
        build_corpus(tmp_path, tmp_path / "out")
    make_collection(tmp_path, {0: [post(0, 1, "LINEスタンプ発売中です")]})
    with pytest.raises(ValueError, match=r"no post of .* is left \(promotion 1\)"):
        build_corpus(tmp_path, tmp_path / "out")


def test_one_account_alone_is_divided_by_post(tmp_path):
    collection = make_collection(tmp_path / "c", some_posts(1, 40))
    built, report = build_corpus(collection, tmp_path / "out")
    assert report["splits"]["by"] == "post" and built.rows["train"] > 20
    assert not (collection / "splits.json").exists()


def test_the_collection_knows_its_corpora(collection, corpus):
    output, _, _ = corpus
    assert str(output.resolve()) in (collection / CORPORA).read_text()


def test_a_folder_of_something_else_is_refused_and_not_taken_for_a_corpus(tmp_path):
    collection = make_collection(tmp_path / "c", some_posts(3, 3))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").touch()
    with pytest.raises(ValueError, match="no build of tweetcap's"):
        build_corpus(collection, tmp_path / "mine")
    assert not (collection / CORPORA).exists()


def test_labels_of_a_dehydrated_corpus_decide_over_everything(tmp_path):
    collection = make_collection(tmp_path / "c", some_posts(3, 4))
    key = {"post_id": post_id(0, 1), "media_key": media_key(0, 1)}
    write_rows(collection / LABELS, [key | {"split": "test", "tone": "大喜利", "weight": 1.25, "boilerplate": []}])
    plan = plan_corpus(collection, CorpusSettings())
    (row,) = [row for rows in plan.rows.values() for row in rows]
    assert (row["split"], row["tone"], row["weight"], row["text"]) == ("test", "大喜利", 1.25, sentence(0, 1))
    assert plan.report["dropped"] == {"no_label": 11} and plan.report["splits"]["by"] == "labels"


def test_photos_decode_to_the_pixels_that_were_stored(corpus, tmp_path):
    output, _, _ = corpus
    row = load(output, tmp_path)["train"][0]
    stored = Image.open(io.BytesIO(jpeg(int(row["media_key"][2:]) % 2**32)))
    assert np.array_equal(np.asarray(row["image"]), np.asarray(stored))
