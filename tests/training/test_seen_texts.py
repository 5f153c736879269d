"""A checkpoint comes with the hashes of what it was trained on."""

from tests.training.processes import train
from tweetcap.data.tables import open_table
from tweetcap.write.filters import SeenTexts
from tweetcap.write.writer import SEEN_TEXTS

SHORT = ("--override", "stages.0.epochs=1", "--override", "sample_photos=0")


def test_held_and_streamed_corpora_leave_the_same_hashes_and_a_finished_run_says_that_it_is(parquet, tmp_path):
    for output, more in (("held", ()), ("streamed", ("--override", "streaming=true"))):
        ended = train(*parquet.arguments(tmp_path / output, *SHORT, *more), folder=tmp_path / "log")
        assert ended.well, ended.printed[-2000:]
    held, streamed = (tmp_path / output / "best" / SEEN_TEXTS for output in ("held", "streamed"))
    assert held.read_bytes() == streamed.read_bytes()
    seen = SeenTexts.load(held)
    posts, stair = parquet.corpora
    texts = {row["text"] for row in open_table(posts, "train").dataset}
    texts |= {caption for row in open_table(stair, "train").dataset for caption in row["captions"]}
    assert all(text in seen for text in texts)
    assert not [row["text"] for row in open_table(posts, "validation").dataset if row["text"] in seen]

    again = train(*parquet.arguments(tmp_path / "held", *SHORT), folder=tmp_path / "log")
    assert again.well and "holds a finished run; give another --output" in again.printed
