"""What may not be published is dropped for the reason that holds, and good tweets pass."""

import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tweetcap.write.filters import (
    DROP_REASONS,
    MAX_WEIGHTED_LENGTH,
    SeenTexts,
    _compile_block_list,
    fold,
    near_copies,
    reason_to_drop,
    weighted_length,
)

GOOD_TWEETS = [
    "ボール投げたら犬が水平に飛んでいった。うちの庭じゃ無理だ😂",
    "「母さん見て！雪！これ全部雪！」",
    "マントをひらひらさせて走ってくる姿、小さな勇者みたい✨",
    "閉まりかけの電車に飛び込む人を横から見たところ",
    "近い近い近い、歯まで近い😳",
    "「くるくるくる、きたきたきた、あーーっ！」",
    "「待て待て待て、ロープそこ動くな」",
    "「はいはいはい！その問題わかります！」",
    "毛、毛、毛、鼻。以上w",
    "「はい、出席を取ります。もこもこ、もこもこ、もこもこ」",
    "「奥さん聞いた？」「聞いた聞いた、三丁目の池でしょ」",
    "「わしが先！」「わしが先！」「二人同時やった！」",
    "「のどちんこ見えた！はい、ぼくの勝ち！」",
    "台所に乗るなと百回言った。百一回目が今です(´・ω・`)",
    "庭をゆっくり歩く鶏を眺めて、朝のお茶を飲む(^^)",
    "食べても食べても減らない上に、味もしないと思うよ",
]


@pytest.mark.parametrize("text", GOOD_TWEETS)
def test_a_good_tweet_passes(text):
    assert reason_to_drop(text) is None


# --- Length -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("", 0),
        ("cat", 3),
        ("猫", 2),
        ("ねこ、かわいい。", 16),
        ("ﾈｺ", 4),
        ("caf\u00e9", 4),
        ("cafe\u0301", 4),  # NFC first
        ("か\u3099", 2),
        ("“cat”…", 7),  # the ellipsis is outside the light ranges
        ("😂", 2),
        ("👍🏽", 2),
        ("👨‍👩‍👧‍👦", 2),
        ("🏳️‍🌈", 2),
        ("🐈‍⬛", 2),
        ("❤️", 2),
        ("🇯🇵🇫🇷", 4),
        ("1️⃣", 2),
        ("🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f", 2),
        ("©", 1),
        ("©️", 2),
        ("12", 2),
        ("猫🐈犬🐕", 8),
        ("https://example.com/a/very/long/path?with=a&query=string#and-more", 23),
        ("https://t.co/x", 23),
        ("見てhttps://example.comだよ", 2 * 2 + 23 + 2 * 2),
        ("example.com", 23),
        ("3.14", 4),
    ],
)
def test_the_weighted_length_is_that_of_x(text, length):
    assert weighted_length(text) == length


@given(st.text(st.sampled_from("abc 123.,éひらがなカタカナ漢字。、「」—…☆"), max_size=200))
def test_without_emoji_and_urls_the_weighted_length_is_the_sum_of_the_characters(text):
    light = [(0, 4351), (8192, 8205), (8208, 8223), (8242, 8247)]
    weights = [1 if any(low <= ord(c) <= high for low, high in light) else 2 for c in text]
    assert weighted_length(text) == sum(weights)


@given(st.text(max_size=100), st.text(max_size=100))
def test_the_weighted_length_of_two_lines_is_the_sum_of_both_and_one(first, second):
    assert weighted_length(f"{first}\n{second}") == weighted_length(first) + 1 + weighted_length(second)


def test_a_text_is_too_long_in_characters_or_in_weight():
    kana = ("あいうえおかきくけこ" * 14)[:140]
    assert weighted_length(kana) == MAX_WEIGHTED_LENGTH
    letters = "abcdefghijklmnopqrstuvwxyz " * 10  # 270 characters that repeat themselves
    assert reason_to_drop(kana + "さ") == "too_long"
    assert reason_to_drop(kana + "さ", max_length=1000) == "too_long"
    assert reason_to_drop(letters) == "too_long"
    assert reason_to_drop(letters, max_length=1000) != "too_long"
    assert reason_to_drop("今日もいい天気", max_length=6) == "too_long"
    assert reason_to_drop("今日もいい天気", max_length=7) is None


# --- Copies -------------------------------------------------------------------------------------


def test_folding_keeps_only_the_wording():
    assert fold("「ネコ！」　ＣＡＴ　cat…😂") == "ネコcatcat"
    assert fold("ﾈｺﾊﾞｽ") == "ネコバス"
    assert fold("ラーメン々") == "ラーメン々"
    assert fold("😂！！") == ""
    assert fold("ねこ") != fold("ネコ")


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("「おかわりまだ？」", "おかわり、まだ😋"),
        ("耳のほうが顔より大きいんだが", "耳のほうが顔より大きい"),
        ("「そっちの草、どう？おいしい？」", "「そっちの草、おいしい？」"),
        ("夜行バスで隣の人の肩を借りた朝💤", "電車で隣の人の肩を借りた朝"),
        ("山の宿でおかわりを待つ力士", "おかわりを待つ力士"),
        ("「寒い」", "寒い寒い"),
        ("猫", "猫！"),
        ("😂", " 😂"),
    ],
)
def test_texts_that_tell_the_same_are_near_copies(a, b):
    assert near_copies(a, b) and near_copies(b, a)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("「捕まえた！」", "ボールが大好きなんだね"),
        ("終電に飛び込む時の私", "閉まりかけの電車に飛び込む人を横から見たところ"),
        ("完全に寝てる", "完全に起きてる人の顔"),
        ("「まだかな」", "「まだ寝る」"),
        ("眠い", "眠たい"),
        ("圧", "圧がすごい"),
        ("😂", "😂😂"),
        ("😂", "猫😂"),
    ],
)
def test_texts_that_tell_different_things_are_no_near_copies(a, b):
    assert not near_copies(a, b) and not near_copies(b, a)


@given(st.text(max_size=40), st.text(max_size=40))
def test_near_copies_is_symmetric_and_every_text_is_a_near_copy_of_itself(a, b):
    assert near_copies(a, b) == near_copies(b, a)
    assert near_copies(a, a)


def test_a_training_text_is_seen_whatever_its_punctuation():
    seen = SeenTexts.from_texts(["「捕まえた！」", "終電に飛び込む時の私", "😂😂"])
    assert len(seen) == 3
    assert "捕まえた" in seen and "終電に飛び込む、時の私！？😂" in seen and "😂😂" in seen
    assert "捕まえる" not in seen and "😂" not in seen and "" not in seen
    assert reason_to_drop("捕まえた…", seen=seen) == "copy"
    assert reason_to_drop("捕まえる…", seen=seen) is None


@given(st.lists(st.text(max_size=20), max_size=30), st.text(max_size=20))
def test_seen_texts_saved_and_loaded_agree(tmp_path_factory, texts, other):
    path = tmp_path_factory.mktemp("seen") / "seen_texts.bin"
    seen = SeenTexts.from_texts(texts)
    seen.save(path)
    loaded = SeenTexts.load(path)
    assert len(loaded) == len(seen) == len({fold(text) or text.strip() for text in texts})
    assert path.stat().st_size < 64 + 4 * len(seen)
    assert all(text in loaded for text in texts)
    assert (other in loaded) == (other in seen)


def test_the_order_of_the_texts_does_not_change_the_file(tmp_path):
    SeenTexts.from_texts(GOOD_TWEETS).save(tmp_path / "a")
    SeenTexts.from_texts(GOOD_TWEETS[::-1] * 2).save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_that_is_not_of_seen_texts_is_refused(tmp_path):
    path = tmp_path / "seen_texts.bin"
    SeenTexts.from_texts(GOOD_TWEETS).save(path)
    data = path.read_bytes()
    for content, word in (
        (b"", "version 1"),
        (b"PK" + data, "version 1"),
        (data[:-1], "short"),
        (data[:9], "short"),
        (data[:8] + (1).to_bytes(8, "little") + data[16:], "short"),  # holds more than it says
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=word) as error:
            SeenTexts.load(path)
        assert str(path) in str(error.value)


# --- What may not be held -----------------------------------------------------------------------


DROPPED = {
    "empty": ["", " ", "\n\u3000"],
    "email": ["連絡はneko@example.comまで", "ＮＥＫＯ＠ｅｘａｍｐｌｅ．ｊｐ", "a.b+c@mail.example.co.jp"],
    "handle": ["@neko_cafe さん見て", "見て＠ｎｅｋｏ", "犬@inu", "(@neko)"],
    "url": [
        "見て https://example.com/cat",
        "ｈｔｔｐｓ：／／ｅｘａｍｐｌｅ．ｃｏｍ",
        "詳しくはneko.example.co.jpで",
        "pic.twitter.com/abc",
        "t.co/abcde見てね",
        "WWW.NEKO.COM",
    ],
    "phone": [
        "090-1234-5678に電話して",
        "０９０ー１２３４ー５６７８",
        "09012345678",
        "03-1234-5678",
        "(03)1234-5678",
        "03（1234）5678",
        "0120-123-456",
        "0120 123 456",
        "+81 90-1234-5678",
        "電話０４６２－１２－３４５６まで",
    ],
    "blocked": [
        "死ね",
        "お前を殺すぞ",
        "ぶっ殺す",
        "レイプ",
        "レイプマン",
        "ﾚｲﾌﾟ",
        "このフェラ",
        "What the FUCK",
        "fucking cat",
        "クソBitchだな",
        "もう死にたい",
        "ｓｅｘ",
    ],
    "broken": [
        "猫\ufffd",
        "猫\x00",
        "猫\u202e",
        "猫\ud83d",
        "猫\ue000",
        "「猫",
        "猫」",
        "「猫『犬」』",
        "」猫「",
        "（笑",
        "【速報】猫】",
        "ああああああああ",
        "猫！！！！！！！！",
        "猫😂😂😂😂😂😂😂😂",
        "かわいいかわいいかわいい",
        "見ている、見ている、見ている、見ている",
        "猫を見ている猫を見ている猫を見ている",
        "もうだめだ。もうだめだ。もうだめだ。",
        "馬の馬の馬の馬",
        "猫が猫が猫が来た",
    ],
}


@pytest.mark.parametrize(("reason", "text"), [(reason, text) for reason in DROPPED for text in DROPPED[reason]])
def test_a_text_is_dropped_for_its_reason(reason, text):
    assert reason in DROP_REASONS
    assert reason_to_drop(text) == reason


@pytest.mark.parametrize(
    "text",
    [
        "ポチ＠散歩中",  # a name before what it does
        "4.5キロの猫",
        "午前10:30、開店です",
        "2024-01-02 12:30",
        "01-02-2024",
        "0歳から100歳まで",
        "123456789012345匹目",
        "犬.猫.馬",
        "Mr.ワンコ、No.1です",
        "…え？",
        "もぐもぐもぐもぐもぐもぐもぐ",
        "ねえねえねえ",
        "近い近い",
        "待って待って待って",
        "にゃーにゃーにゃー",
        "にゃんにゃんにゃん、にゃん",
        "ぴょんぴょんぴょん",
        "わんわんわんわん！",
        "大好き！大好き！",
        "wwwwwww",
        "何度も何度も見る",
        "(╯°□°）╯ひっくり返した",
        "やったー :)",
        "「え、『猫』って誰（私？）のこと」",
        "二行に\nなるつぶやき",
        "🐈‍⬛と👨‍👩‍👧",
        "フェラーリより速い犬",
        "ちびっこが来た",
        "窓のかたわらで眠る",
        "新鮮人参が好き",
        "天気違いじゃない？",
        "一年中出しっぱなしのこたつ",
        "かちんこちんに凍った池",
        "おっぱいを飲む子牛",
        "犬のちんちん、上手",
        "必死すぎる",
        "grape shitake",
        "Sussex の羊",
        "女性交流会",
    ],
)
def test_an_innocent_text_passes(text):
    assert reason_to_drop(text) is None


def test_the_block_list_is_extended_a_line_at_a_time():
    blocked, innocent = _compile_block_list("# a comment\nニャン\nわん*  # why\n猫パンチ\ncat\ndog*\n\n!猫パンチラ")
    for text in ("ニャン", "犬とニャンと", "わん*", "この猫パンチ", "a cat!", "cat猫", "dogs"):
        assert blocked.search(text), text
    for text in ("ニャンコ", "コニャン", "わん", "cats", "hotdog", "why", "a comment", ""):
        assert not blocked.search(text), text
    assert innocent.sub("", "猫パンチラ") == ""
    blocked, innocent = _compile_block_list("# nothing\n")
    assert not blocked.search("猫") and innocent.sub(" ", "猫") == "猫"


@given(st.text(max_size=160))
def test_any_text_at_all_gets_a_known_reason_or_none(text):
    assert reason_to_drop(text, seen=SeenTexts.from_texts([])) in (None, *DROP_REASONS)


@given(st.sampled_from([text for text in GOOD_TWEETS if "(" not in text]))
def test_full_width_letters_change_no_verdict(text):
    assert reason_to_drop(unicodedata.normalize("NFKC", text)) == reason_to_drop(text) is None


def test_the_filters_need_no_torch():
    code = "import sys, tweetcap.write.filters; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
