"""What can't be used is named, and ends the run or is left out, as the config says."""

import functools
import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.data.made_corpora import POSTS, post_rows, write_corpus
from tests.training.conftest import Made
from tests.training.processes import poison, rows, train

NO_NUMBER = functools.partial(poison, text="うちの猫0号")


def state(output: Path) -> dict:
    return torch.load(output / "last" / "state.pt", weights_only=True)


def test_a_loss_that_is_no_number_ends_the_run_in_a_sentence_that_names_the_text(parquet, tmp_path):
    ended = train(*parquet.arguments(tmp_path / "run"), folder=tmp_path, change=NO_NUMBER)
    assert ended.codes == [2]
    assert "is no number" in ended.printed and "うちの猫0号" in ended.printed and "on_nan" in ended.printed
    assert "Traceback" not in ended.printed
    assert any("うちの猫0号" in row["name"] for row in rows(tmp_path / "run" / "left_out.jsonl"))


def test_with_skip_such_a_step_changes_nothing_on_any_process(parquet, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    more = ("--override", "on_nan=skip", "--override", "stages.0.epochs=1")
    for output, processes in ((one, 1), (two, 2)):
        ended = train(*parquet.arguments(output, *more), folder=tmp_path, processes=processes, change=NO_NUMBER)
        assert ended.well, ended.printed[-2000:]
    losses = rows(one / "losses.jsonl")
    assert [row["loss"] is None for row in losses].count(True) == 1
    assert losses == rows(two / "losses.jsonl")
    for part in ("model", "average"):
        first, second = state(one)[part], state(two)[part]
        assert all(torch.equal(first[name], second[name]) for name in first)

    # A run whose every step is skipped keeps the weights that it began with.
    arguments = parquet.arguments(tmp_path / "all", *more, "--start", one / "best")
    ended = train(*arguments, folder=tmp_path, change=functools.partial(poison, text=""))
    assert ended.well, ended.printed[-2000:]
    before = torch.load(one / "last" / "state.pt", weights_only=True)["average"]
    after = state(tmp_path / "all")["model"]
    for name in after:
        torch.testing.assert_close(after[name], before[f"module.{name}"].half().to(after[name].dtype))


@pytest.mark.parametrize("thawed", [True, False])
def test_an_unreadable_photo_is_left_out_or_ends_the_run_as_configured(parquet, tmp_path, thawed):
    posts = post_rows(24)
    posts[3]["image"] = {"bytes": b"no photo", "path": None}
    write_corpus(tmp_path / "posts", POSTS, train=posts[:16], validation=posts[16:])
    broken = Made((tmp_path / "posts",), parquet.tokenizer)
    more = ["--override", "stages.0.epochs=1", "--override", "stages.0.sources={posts: 1}"]
    more += ["--override", "stages.0.choose_by=[posts]", "--override", "batches_per_step=1"]
    more += [] if thawed else ["--override", "stages.0.encoder_learning_rate=0"]
    ended = train(*broken.arguments(tmp_path / "skip", *more), folder=tmp_path)
    assert ended.well, ended.printed[-2000:]
    (row,) = rows(tmp_path / "skip" / "left_out.jsonl")
    assert "3_3" in row["name"]
    ended = train(*broken.arguments(tmp_path / "stop", *more, "--override", "bad_rows=stop"), folder=tmp_path)
    if thawed:  # otherwise the features are there already, and what they lack is known
        assert ended.codes == [2] and "3_3" in ended.printed and "Traceback" not in ended.printed


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (("--override", "stages.0.sources.songs=1"), "songs"),
        (("--override", "stages.0.epochs=many"), "stages.0.epochs"),
        (("--override", "stages.9.epochs=1"), "no training config"),
        (("--override", "colour=red"), "colour"),
        (("--override", "stages.0.ema=1"), "ema"),
        (("--override", "stages.0.self_critical=0.5"), "label_smoothing"),
        (("--stages", "poems"), "poems"),
        (("--override", "stages.0.name=last"), "last"),
        (("--override", "stages.0.sources={}"), "sources"),
        (("--override", "batches.batch_size=many"), "batch_size"),
        (("--tokenizer", "nowhere"), "nowhere"),
        (("--override", "model.hiden_size=7"), "hiden_size"),
        (("--override", "stages.0.choose_by=[casual]"), "casual"),
        (("--override", "stages.0.choose_by=[human]"), "human"),
        (("--override", "batches.batch_size=4000"), "batch_size"),
        (("--corpus", "nowhere"), "nowhere"),
        (("--tracker", "trackio"), "trackio"),
        (("--start", "nowhere"), "nowhere"),
    ],
)
def test_a_wrong_value_is_named_in_one_sentence(parquet, tmp_path, more, named):
    ended = train(*parquet.arguments(tmp_path / "run", *more), folder=tmp_path)
    assert ended.codes == [2]
    assert named in ended.printed
    assert "Traceback" not in ended.printed


def test_a_tokenizer_of_the_same_size_with_other_words_is_refused(parquet, tmp_path):
    short = ("--override", "stages.0.epochs=1")
    assert train(*parquet.arguments(tmp_path / "start", *short), folder=tmp_path).well
    tokens = json.loads((parquet.tokenizer / "vocab.json").read_text())
    shutil.copytree(parquet.tokenizer, tmp_path / "other")
    (tmp_path / "other" / "vocab.json").write_text(json.dumps([*tokens[:-2], tokens[-1], tokens[-2]]))
    made = Made(parquet.corpora, tmp_path / "other")
    ended = train(*made.arguments(tmp_path / "run", "--start", tmp_path / "start" / "best"), folder=tmp_path)
    assert ended.codes == [2] and "other tokens" in ended.printed and "--tokenizer" in ended.printed


def test_batches_that_processes_cannot_share_are_refused_with_a_number_that_they_can(parquet, tmp_path):
    arguments = parquet.arguments(tmp_path / "run", "--override", "batches_per_step=3")
    ended = train(*arguments, folder=tmp_path, processes=2)
    assert ended.codes == [2, 2]
    assert "batches_per_step=4" in ended.printed


def test_an_unfinished_run_is_not_gone_on_with_under_another_config(parquet, tmp_path):
    arguments = parquet.arguments(tmp_path / "run", "--override", "stages.0.epochs=1")
    assert train(*arguments, folder=tmp_path).well
    ended = train(*arguments, "--override", "seed=7", folder=tmp_path)
    assert ended.codes == [2]
    assert "seed 0 in place of 7" in ended.printed
