"""The questionnaire's design: balanced, blind, and made whole or not at all."""

import json
import re
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.made_study import SYSTEMS, make_photos, make_sources, make_study, prediction, write_rows
from tweetcap.data.photo import load_photo
from tweetcap.evaluate.survey.new_study import Source, create_study
from tweetcap.evaluate.survey.study import PHOTOS_FOLDER, QUESTIONS, Item, Study, read_study, read_systems


def design(mode="rating", photos=12, systems=3, blocks=1, attention=0, gold=0, seed=0) -> Study:
    """Return a study without photos."""
    letters = "abcdefgh"[:systems]
    gold_texts = {"gold": "x"} if mode == "rating" else {"good": "x", "bad": "y"}
    return Study(
        study="0",
        mode=mode,
        title={"ja": "", "en": ""},
        consent={"ja": "", "en": ""},
        questions=QUESTIONS[mode],
        systems=tuple(letters),
        items=tuple(
            Item(f"p{n}", f"{n}.jpg", 4, 3, {letter: f"{n}{letter}" for letter in letters}, block=n * blocks // photos)
            for n in range(photos)
        ),
        gold=tuple(Item(f"g{n}", f"g{n}.jpg", 4, 3, gold_texts, {"fits": 1}) for n in range(gold)),
        attention=tuple((2, 4)[n % 2] if mode == "rating" else ("left", "right")[n % 2] for n in range(attention)),
        minimum_seconds=0,
        raters=None,
        abandoned_after_hours=6,
        seed=seed,
    )


def spread(counts) -> int:
    return max(counts) - min(counts)


DESIGNS = st.tuples(
    st.sampled_from(["rating", "pairwise"]),
    st.integers(1, 17),
    st.integers(2, 5),
    st.integers(1, 4),
    st.integers(0, 99),
)


@settings(max_examples=60, deadline=None)
@given(DESIGNS)
def test_after_any_number_of_raters_each_photo_has_had_each_system_or_pair_equally_often(settings):
    mode, photos, systems, blocks, seed = settings
    study = design(mode, photos, systems, min(blocks, photos), seed=seed)
    shown = Counter({(item.item, pair): 0 for item in study.items for pair in study.treatments})
    totals = Counter({pair: 0 for pair in study.treatments})
    sides = Counter({(item.item, pair, way): 0 for item in study.items for pair in study.treatments for way in (0, 1)})
    for number, (block, row) in enumerate(study.cells() * 2):
        for task in study.tasks(block, row, f"r{number}"):
            pair = tuple(sorted(task.shown))
            shown[task.item, pair] += 1
            totals[pair] += 1
            sides[task.item, pair, int(task.shown != pair)] += 1
        assert spread(shown.values()) <= 1
        assert spread(totals.values()) <= 1
        if mode == "pairwise":
            assert spread(sides.values()) <= 1
    assert spread(shown.values()) == 0


@settings(max_examples=40, deadline=None)
@given(DESIGNS)
def test_no_rater_sees_a_photo_with_two_texts_of_systems_in_two_tasks(settings):
    mode, photos, systems, blocks, seed = settings
    study = design(mode, photos, systems, min(blocks, photos), seed=seed)
    for block, row in study.cells():
        tasks = study.tasks(block, row, "r")
        seen = [task.item for task in tasks]
        assert sorted(seen) == sorted(item.item for item in study.items if item.block == block)
        assert {len(task.shown) for task in tasks} == {1 if mode == "rating" else 2}


def test_a_rater_sees_each_system_equally_often_and_on_either_side():
    for block, row in design("rating", photos=12, systems=3).cells():
        shown = Counter(task.shown for task in design("rating", photos=12, systems=3).tasks(block, row, "r"))
        assert spread(shown.values()) == 0
    study = design("pairwise", photos=12, systems=3)
    for block, row in study.cells():
        assert len(Counter(task.shown for task in study.tasks(block, row, "r"))) == 6  # three pairs, both ways


def test_each_rater_has_an_own_order_that_comes_again():
    study = design()
    orders = {tuple(task.item for task in study.tasks(0, 0, f"r{number}")) for number in range(20)}
    assert len(orders) == 20
    assert study.tasks(0, 0, "r1") == study.tasks(0, 0, "r1")


@pytest.mark.parametrize("mode", ["rating", "pairwise"])
def test_checks_are_strewn_in_never_first_and_have_their_known_answers(mode):
    study = design(mode, photos=8, attention=3, gold=2)
    places = set()
    for number in range(40):
        tasks = study.tasks(0, 0, f"r{number}")
        kinds = [task.kind for task in tasks]
        assert Counter(kinds) == {"item": 8, "attention": 3, "gold": 2}
        assert kinds[0] == "item"
        places |= {place for place, kind in enumerate(kinds) if kind != "item"}
        for task in tasks:
            expected = study.expected(task)
            if task.kind == "item":
                assert expected == {}
            elif task.kind == "attention" and mode == "rating":
                assert expected == dict.fromkeys(("natural", "fits", "funny", "like"), int(task.shown[0]))
            elif task.kind == "gold" and mode == "pairwise":
                assert task.shown[{"left": 0, "right": 1}[expected["choice"]]] == "good"
    assert places == set(range(1, 13))


def test_attention_checks_show_photos_of_other_blocks():
    study = design(photos=8, blocks=2, attention=4)
    for block, row in study.cells():
        for task in study.tasks(block, row, "r"):
            assert (study.find_item(task.kind, task.item).block == block) == (task.kind == "item")


# Making a study


def test_a_study_has_every_text_and_comes_back_from_its_file(tmp_path):
    study = make_study(tmp_path, photos=7, items_per_rater=4)
    assert read_study(tmp_path / "study") == study
    names = read_systems(tmp_path / "study")
    assert sorted(names.values()) == sorted(SYSTEMS)
    for item in study.items:
        for letter, name in names.items():
            assert item.texts[letter] == f"{SYSTEMS.index(name)}番{item.item[1:]}"
    assert sorted(item.item for item in study.items) == [f"p{number:04}" for number in range(7)]
    assert Counter(item.block for item in study.items) == {0: 4, 1: 3}


def test_photos_are_copied_under_names_that_tell_nothing_without_metadata(tmp_path):
    names = make_photos(tmp_path / "photos", 3)
    first = tmp_path / "photos" / names[0]
    exif = b"Exif\0\0II*\0\x08\0\0\0\0\0 secretcamera"
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    first.write_bytes(first.read_bytes()[:2] + segment + first.read_bytes()[2:])
    create_study(tmp_path / "photos", make_sources(tmp_path, names), tmp_path / "study")
    copies = sorted((tmp_path / "study" / PHOTOS_FOLDER).iterdir())
    assert len(copies) == 3
    for copy in copies:
        assert re.fullmatch(r"[0-9a-f]{16}\.jpg", copy.name)
        assert b"Exif" not in copy.read_bytes()
        assert load_photo(copy).shape == (3, 120, 160)


def test_large_photos_are_shrunk_to_what_a_phone_shows(tmp_path):
    import torch
    from torchvision.io import encode_jpeg

    (tmp_path / "photos").mkdir()
    pixels = torch.zeros(3, 1000, 2000, dtype=torch.uint8)
    (tmp_path / "photos" / "wide.jpg").write_bytes(encode_jpeg(pixels).numpy().tobytes())
    study, _ = create_study(tmp_path / "photos", make_sources(tmp_path, ["wide.jpg"]), tmp_path / "study")
    item = study.items[0]
    assert (item.width, item.height) == (1024, 512)
    assert load_photo(tmp_path / "study" / PHOTOS_FOLDER / item.photo).shape == (3, 512, 1024)


def test_the_same_seed_makes_the_same_study_and_another_seed_another(tmp_path):
    one = make_study(tmp_path / "a", seed=1)
    assert one == make_study(tmp_path / "b", seed=1)
    other = make_study(tmp_path / "c", seed=2)
    assert [item.photo for item in other.items] != [item.photo for item in one.items]


def test_the_letters_of_the_systems_are_drawn_by_lot(tmp_path):
    make_study(tmp_path, photos=1)
    orders = set()
    for seed in range(12):
        folder = tmp_path / f"study{seed}"
        sources = [Source(name, tmp_path / f"{name}.jsonl") for name in SYSTEMS]
        create_study(tmp_path / "photos", sources, folder, seed=seed)
        orders.add(tuple(read_systems(folder).values()))
    assert len(orders) > 2


def test_broken_rows_and_photos_are_named_and_the_others_are_done(tmp_path):
    names = make_photos(tmp_path / "photos", 5)
    sources = make_sources(tmp_path, names)
    with sources[0].path.open("a", encoding="utf-8") as file:
        file.write("not json\n[1]\n" + json.dumps(prediction("gone.jpg", "x")) + "\n" + json.dumps({"x": 1}) + "\n")
        file.write(json.dumps({"text": "no photo"}) + "\n")
        file.write(json.dumps(prediction("p0001.jpg", "half \ud83d")) + "\n")
    write_rows(sources[1].path, [prediction(name, "x") for name in names[1:]])
    (tmp_path / "photos" / names[4]).write_bytes(b"\xff\xd8\xff broken")
    study, notes = create_study(tmp_path / "photos", sources, tmp_path / "study")
    assert sorted(item.item for item in study.items) == ["p0001", "p0002", "p0003"]
    told = "\n".join(notes)
    assert f"{sources[0].path}: 5 rows are left out: line 6: it is no JSON object; line 7:" in told
    assert "gone.jpg fits no photo" in told
    assert "it has neither photo nor photo_id" in told
    assert "line 11: its text holds half a letter" in told
    assert "secrettuned has no text for 1 photos, which are left out: p0000.jpg." in told
    assert f"{names[4]} is damaged or cut short" in told


def test_files_of_every_origin_are_read_and_joined_by_photo(tmp_path):
    make_photos(tmp_path / "photos" / "deep", 1)
    rows = {
        "tweets": {"photo_id": "p0000", "photo": "photos/p0000.jpg", "tweets": [{"text": "A"}, {"text": "B"}]},
        "written": {"photo": "/elsewhere/deep/p0000.jpg", "tweets": [{"text": "C"}], "settings": {}},
        "strings": {"photo_id": "p0000", "tweets": ["D"]},
        "text": {"photo": "p0000.jpg", "text": " E "},
        "texts": {"photo": "p0000.jpg", "texts": ["F", "G"]},
        "references": {"photo": "p0000.jpg", "references": {"captions": ["H"], "tweets": []}},
        "captions": {"photo": "p0000.jpg", "captions": ["I"]},
        "described": {"photo": "p0000.jpg", "description": "J", "tweets": [{"text": "K"}]},
    }
    sources = []
    for name, row in rows.items():
        path = write_rows(tmp_path / f"{name}.jsonl", [row])
        sources.append(Source.parse(f"from-{name}={path}" + (":description" if name == "described" else "")))
    study, notes = create_study(tmp_path / "photos", sources, tmp_path / "study")
    names = read_systems(tmp_path / "study")
    texts = {names[letter]: text for letter, text in study.items[0].texts.items()}
    assert [texts[f"from-{name}"] for name in rows] == ["A", "C", "D", "E", "F", "H", "I", "J"]
    assert notes == []


def test_a_photo_id_may_be_a_number_as_coco_s_are(tmp_path):
    (name,) = make_photos(tmp_path / "photos", 1)
    (tmp_path / "photos" / name).rename(tmp_path / "photos" / "139.jpg")
    path = write_rows(tmp_path / "a.jsonl", [{"photo_id": 139, "text": "x"}])
    study, _ = create_study(tmp_path / "photos", [Source("a", path)], tmp_path / "study")
    assert study.items[0].item == "139"


@pytest.mark.parametrize("option", ["minimum_seconds", "abandoned_after_hours"])
def test_no_number_is_no_length_of_time(tmp_path, option):
    names = make_photos(tmp_path / "photos", 1)
    with pytest.raises(ValueError, match="no lengths of time"):
        create_study(tmp_path / "photos", make_sources(tmp_path, names), tmp_path / "study", **{option: float("nan")})


def test_the_last_row_of_a_photo_counts_as_in_the_files_of_tweetcap_write(tmp_path):
    make_photos(tmp_path / "photos", 1)
    failed = {"photo": "p0000.jpg", "error": "no candidate passed"}
    path = write_rows(tmp_path / "a.jsonl", [failed, prediction("p0000.jpg", "old"), prediction("p0000.jpg", "new")])
    study, _ = create_study(tmp_path / "photos", [Source("a", path)], tmp_path / "study")
    assert study.items[0].texts == {"a": "new"}


def test_gold_items_keep_their_photos_to_themselves(tmp_path):
    names = make_photos(tmp_path / "photos", 4)
    rows = [
        {"photo_id": "p0002", "text": "飛行機が飛んでいる", "expected": {"fits": 1}},
        {"photo_id": "p0003", "text": "x", "expected": {"fits": 9}},
        {"photo_id": "p0003", "text": "x"},
    ]
    gold = write_rows(tmp_path / "gold.jsonl", rows)
    sources = make_sources(tmp_path, names)
    study, notes = create_study(tmp_path / "photos", sources, tmp_path / "study", gold=gold)
    assert [item.item for item in study.gold] == ["p0002"]
    assert sorted(item.item for item in study.items) == ["p0000", "p0001", "p0003"]
    assert any("2 rows are left out: line 2: it needs expected" in note for note in notes)
    assert "1 photos serve as gold items only: p0002.jpg." in notes
    pairs = write_rows(tmp_path / "pairs.jsonl", [{"photo_id": "p0001", "good": "g", "bad": "b"}])
    study, _ = create_study(tmp_path / "photos", sources, tmp_path / "pairs", mode="pairwise", gold=pairs)
    assert study.gold[0].texts == {"good": "g", "bad": "b"}
    with pytest.raises(ValueError, match=re.escape(f"{pairs} has no gold item for the rating mode")):
        create_study(tmp_path / "photos", sources, tmp_path / "no", gold=pairs)


def test_what_gives_a_system_away_or_can_only_tie_is_said(tmp_path):
    make_photos(tmp_path / "photos", 2)
    rows = [prediction("p0000.jpg", "same"), prediction("p0001.jpg", "same")]
    sources = [Source(name, write_rows(tmp_path / f"{name}.jsonl", rows)) for name in ("stair", "tuned")]
    title = {"ja": "STAIRの調査", "en": "study"}
    _, notes = create_study(tmp_path / "photos", sources, tmp_path / "study", mode="pairwise", title=title)
    assert any("says stair, a system's name" in note for note in notes)
    assert any("the same text for 2 photos" in note for note in notes)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"photos": "nowhere"}, "nowhere is not a folder"),
        ({"sources": []}, "takes 1 to 26 systems; 0 given"),
        ({"sources": [Source("a", "x"), Source("a", "x")]}, "the system a is given twice"),
        ({"sources": [Source("a", "gone.jsonl")]}, "gone.jsonl can't be read"),
        ({"mode": "stars"}, "the mode is stars; choose rating or pairwise."),
        ({"output": "."}, "exists already"),
    ],
)
def test_what_makes_no_study_is_said_and_nothing_is_left(tmp_path, monkeypatch, change, sentence):
    monkeypatch.chdir(tmp_path)
    make_photos(tmp_path / "photos", 1)
    options = {"photos": "photos", "sources": [], "output": "study", "mode": "rating"} | change
    options["sources"] = [Source(source.name, tmp_path / source.path) for source in options["sources"]]
    with pytest.raises(ValueError, match=re.escape(sentence)):
        create_study(options["photos"], options["sources"], options["output"], mode=options["mode"])
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_systems_without_a_common_photo_make_no_study(tmp_path):
    make_photos(tmp_path / "photos", 2)
    sources = [
        Source(name, write_rows(tmp_path / f"{name}.jsonl", [prediction(photo, "x")]))
        for name, photo in (("a", "p0000.jpg"), ("b", "p0001.jpg"))
    ]
    with pytest.raises(ValueError, match=r"no photo in .* has a text of every system"):
        create_study(tmp_path / "photos", sources, tmp_path / "study")
    assert not (tmp_path / "study").exists()
    assert not list(tmp_path.glob(".survey-*"))


@pytest.mark.parametrize("argument", ["a", "=x.jsonl", "a=", "a=x.jsonl:verse"])
def test_a_system_written_in_another_way_is_named_with_the_right_one(argument):
    with pytest.raises(ValueError, match=re.escape(f"--system {argument}: ")):
        Source.parse(argument)


def test_a_folder_that_is_no_study_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"holds no study\.json; make a study with tweetcap survey create"):
        read_study(tmp_path)
    make_study(tmp_path)
    path = tmp_path / "study" / "study.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"mode": "rating"', '"mood": "rating"'), encoding="utf-8")
    with pytest.raises(ValueError, match="is not a study any more"):
        read_study(tmp_path / "study")


def test_pairs_of_all_systems_are_compared():
    study = design("pairwise", systems=4)
    assert study.treatments == list(combinations("abcd", 2))
