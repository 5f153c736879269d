"""The losses and weights of a run depend on its config and corpora: not on processes, workers or cuts."""

import functools
import random
from pathlib import Path

import pytest
import torch

from tests.training.processes import cut, rows, train

SEED = random.randrange(1000)  # of the steps at which runs are cut: other ones each time


def losses(output: Path) -> list[dict]:
    return rows(output / "losses.jsonl")


def state(output: Path) -> dict:
    return torch.load(output / "last" / "state.pt", weights_only=True)


def assert_same_run(one: Path, other: Path) -> None:
    assert losses(one) == losses(other)
    first, second = state(one), state(other)
    for part in ("model", "average"):
        assert first[part].keys() == second[part].keys()
        assert all(torch.equal(first[part][name], second[part][name]) for name in first[part])
    keys = ("stage", "epoch", "step")
    assert [[row[key] for key in keys] for row in rows(one / "history.jsonl")] == [
        [row[key] for key in keys] for row in rows(other / "history.jsonl")
    ]


@pytest.fixture(scope="module")
def uncut(parquet, tmp_path_factory) -> Path:
    """A run in one process, from local corpora."""
    folder = tmp_path_factory.mktemp("uncut")
    ended = train(*parquet.arguments(folder / "run"), folder=folder)
    assert ended.well, ended.printed[-2000:]
    return folder / "run"


@pytest.fixture(scope="module")
def uncut_stream(parquet, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("uncut_stream")
    ended = train(*parquet.arguments(folder / "run", "--override", "streaming=true"), folder=folder)
    assert ended.well, ended.printed[-2000:]
    return folder / "run"


def test_two_processes_give_the_losses_and_weights_of_one_with_twice_the_batches_a_step(uncut, parquet, tmp_path):
    ended = train(*parquet.arguments(tmp_path / "run"), folder=tmp_path, processes=2)
    assert ended.well, ended.printed[-2000:]
    assert_same_run(uncut, tmp_path / "run")


def test_a_seed_fixes_everything_whoever_prepares_the_photos_and_another_seed_changes_it(uncut, parquet, tmp_path):
    for name, override in (("same", "workers=1"), ("other", "seed=1")):
        more = ("--override", override, *(("--override", "stages.0.epochs=1") if name == "other" else ()))
        ended = train(*parquet.arguments(tmp_path / name, *more), folder=tmp_path)
        assert ended.well, ended.printed[-2000:]
    assert_same_run(uncut, tmp_path / "same")
    assert losses(tmp_path / "other")[0]["loss"] != losses(uncut)[0]["loss"]


@pytest.mark.parametrize("streaming", ["false", "true"])
def test_a_run_on_two_processes_that_is_killed_at_random_steps_ends_as_one_that_was_not(
    uncut, uncut_stream, parquet, tmp_path, streaming
):
    whole = uncut_stream if streaming == "true" else uncut
    count = len(losses(whole))
    chance = random.Random(SEED)
    arguments = parquet.arguments(tmp_path / "run", "--save-every", 2, "--override", f"streaming={streaming}")
    for _ in range(2):
        after = chance.randrange(2, count // 2 + 1)
        ended = train(*arguments, folder=tmp_path, processes=2, change=functools.partial(cut, after=after))
        assert -9 in ended.codes, ended.printed[-2000:]
    ended = train(*arguments, folder=tmp_path, processes=2)
    assert ended.well, (SEED, ended.printed[-2000:])
    assert_same_run(whole, tmp_path / "run")


def test_a_run_cut_on_one_process_goes_on_with_two(uncut, parquet, tmp_path):
    arguments = parquet.arguments(tmp_path / "run", "--save-every", 3)
    train(*arguments, folder=tmp_path, change=functools.partial(cut, after=5))
    ended = train(*arguments, folder=tmp_path, processes=2)
    assert ended.well, ended.printed[-2000:]
    assert_same_run(uncut, tmp_path / "run")
