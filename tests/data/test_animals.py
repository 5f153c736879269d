"""The animal lexicon: every ImageNet animal has one word, and texts name what a reader finds in them."""

import pytest

from tweetcap.data.animals import animals_named, concepts, has_animal, load_animals, right_animal


def test_every_imagenet_animal_class_has_exactly_one_word():
    indices = sorted(index for own in concepts().values() for index in own)
    assert indices == list(range(398))


def test_concepts_are_everyday_words_for_well_known_classes():
    word_of = {index: word for word, own in concepts().items() for index in own}
    everyday = {151: "犬", 265: "犬", 281: "猫", 285: "猫", 291: "ライオン", 292: "トラ", 339: "馬"}
    everyday |= {296: "ホッキョクグマ", 340: "シマウマ", 386: "ゾウ", 387: "レッサーパンダ", 388: "パンダ"}
    everyday |= {99: "ガチョウ", 130: "フラミンゴ", 145: "ペンギン", 7: "鶏", 105: "コアラ", 323: "チョウ"}
    assert {index: word_of[index] for index in everyday} == everyday


def test_animals_without_imagenet_class_are_named_but_are_no_concepts():
    assert animals_named("キリンとシカとカピバラとアライグマ") == ["キリン", "シカ", "カピバラ", "アライグマ"]
    assert not {"キリン", "シカ", "カピバラ", "アライグマ"} & set(concepts())


def test_no_spelling_belongs_to_two_animals():
    spellings = [spelling for animal in load_animals() for spelling in animal.words]
    assert len(spellings) == len(set(spellings))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("ゾウが水を浴びる", ["ゾウ"]),
        ("ぞうさんのお鼻", ["ゾウ"]),
        ("象の親子", ["ゾウ"]),
        ("わんこと散歩", ["犬"]),
        ("柴犬のおしり", ["犬"]),
        ("くまがいる", ["クマ"]),
        ("茶トラの猫", ["猫"]),
        ("子猫が寝ている", ["子猫"]),
        ("ホッキョクグマが泳ぐ", ["ホッキョクグマ"]),
        ("ｷﾘﾝの首", ["キリン"]),
        ("猫とライオンと猫", ["猫", "ライオン"]),
        ("馬を見た。でも牛だった", ["馬", "牛"]),
    ],
)
def test_synonyms_and_spellings_name_the_animal_once_in_order(text, named):
    assert animals_named(text) == named


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("シマウマが走る", ["シマウマ"]),
        ("カモメが飛ぶ", ["カモメ"]),
        ("アザラシが寝ている", ["アザラシ"]),
        ("レッサーパンダが立つ", ["レッサーパンダ"]),
        ("アライグマが洗う", ["アライグマ"]),
        ("カモノハシが泳ぐ", ["カモノハシ"]),
        ("オウムガイが浮かぶ", ["オウムガイ"]),
        ("ハリモグラを見た", ["ハリモグラ"]),
    ],
)
def test_the_longest_spelling_wins(text, named):
    assert animals_named(text) == named


@pytest.mark.parametrize(
    "text",
    [
        "かもしれない",
        "どこにいるか見てきた",
        "ここがちょうどいい",
        "草むしりが終わらない",
        "公園でのんびりする人",
        "空がくもり",
        "静かに見守る",
        "カバンの中",
        "トラックとドラマとフリスビー",
        "カメラとスイカとプールサイド",
        "第一印象の対象",
    ],
)
def test_words_that_only_contain_an_animal_name_nothing(text):
    assert animals_named(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "猫背の人",
        "馬鹿だな",
        "鳥肌が立った",
        "豚汁がうまい",
        "犬かきで進む",
        "目の下のクマ",
        "軽トラの荷台",
    ],
)
def test_idioms_name_nothing(text):
    assert animals_named(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "ライオンみたいな髪",
        "クマのぬいぐるみ",
        "ヒョウ柄の服",
        "犬っぽい顔",
        "キツネかと思った",
        "鳥のような形",
    ],
)
def test_likenesses_name_nothing(text):
    assert animals_named(text) == []


def test_a_likeness_does_not_hide_the_animal_itself():
    assert animals_named("ライオンみたいな犬") == ["犬"]
    assert animals_named("耳がちょうちょに似た犬とちょうちょ") == ["犬", "チョウ"]


@pytest.mark.parametrize(
    ("text", "species", "verdict"),
    [
        ("ワンちゃんが走る", "犬", True),
        ("鳥が浮かんでいる", "カモ", True),
        ("犬が寝ている", "子犬", True),
        ("カモが浮かんでいる", "鳥", True),
        ("子猫が寝ている", "猫", True),
        ("猫が寝ている", "犬", False),
        ("シロクマが歩く", "クマ", False),
        ("クマが歩く", "ホッキョクグマ", True),
        ("馬が走る", "シマウマ", False),
        ("蝶が飛ぶ", "チョウ", True),
        ("チョウが飛ぶ", "蝶", True),
        ("牛と犬がにらみ合う", "牛", True),
        ("いい天気だな", "犬", None),
        ("猫背だな", "犬", None),
        ("犬がいる", "なし", False),
        ("いい波だな", "なし", None),
    ],
)
def test_a_text_is_right_for_the_label_its_synonyms_and_its_kinds(text, species, verdict):
    assert right_animal(text, species) is verdict


def test_labels_without_an_animal_are_known_as_such():
    assert has_animal("犬")
    assert has_animal("蝶")
    assert not any(map(has_animal, ("なし", "ぬいぐるみ", "銅像")))


@pytest.mark.parametrize("text", ["", " \n", "😂🐶", "\ufffd", "ｗｗｗ", "\x00犬"])
def test_odd_texts_do_no_harm(text):
    assert isinstance(animals_named(text), list)
