"""`training/train.py` at the embedded checkpoint's size: on cached features, and with the encoder thawed.

The corpus has made photos and the project's own texts, so that batches are as long as real ones.
"""

import statistics
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from benchmarks.material import write_corpus
from benchmarks.processes import ROOT, python
from benchmarks.results import Figure, Plan, Section

CONFIG = ROOT / "training" / "configs" / "starter.yaml"
CHECKPOINT = ROOT / "tweetcap" / "checkpoint"
STAGE = "tweets"
THAWED_BATCH = 16
CACHED_EPOCHS = 4


def measure(plan: Plan, rounds: Callable[[Iterable[int]], Iterable[int]]) -> Section:
    section = Section()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = write_corpus(folder / "corpus", plan.training_photos)
        tokens = mean_tokens(folder / "corpus")
        for kind in rounds(("cached", "thawed")):
            config = folder / f"{kind}.yaml"
            config.write_text(yaml.safe_dump(run(plan, texts, thawed=kind == "thawed"), allow_unicode=True))
            output = folder / kind
            python(
                *("training/train.py", "--config", str(config), "--corpus", str(folder / "corpus")),
                *("--tokenizer", str(CHECKPOINT), "--output", str(output), "--save-every", "0"),
            )
            logged = scalars(output / "tensorboard")
            speed, waiting = (statistics.median(logged[f"{STAGE}/{key}"]) for key in ("texts/s", "waiting"))
            if kind == "cached":
                section.figures.append(Figure("tokens a second on cached features", speed * tokens, ""))
            else:
                section.figures.append(Figure("photos a second with the encoder thawed", speed, ""))
            section.figures.append(Figure(f"share of the time that is waiting for data, {kind}", 100 * waiting, "%"))
    return section


def run(plan: Plan, texts: int, *, thawed: bool) -> dict[str, Any]:
    """Return the starter config cut down to one stage, long enough to be logged a few times."""
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8")) | {"views": 1, "sample_photos": 0}
    stage = next(stage for stage in config["stages"] if stage["name"] == STAGE)
    stage["sources"] = {"captions": 1, "plain": 1, "witty": 1}
    stage["epochs"] = CACHED_EPOCHS
    if thawed:
        config["batches"] = config["batches"] | {"batch_size": THAWED_BATCH}
        share = plan.thawed_steps * THAWED_BATCH / texts
        stage |= {
            "encoder_learning_rate": 1e-4,
            "epochs": 1,
            "sources": {source: min(1.0, 1.2 * share) for source in stage["sources"]},
        }
    return config | {"stages": [stage]}


def mean_tokens(corpus: Path) -> float:
    """Return the mean length of the training texts in tokens, the end token counted."""
    from tweetcap.data.starter import read_starter
    from tweetcap.model import TweetCapTokenizer

    tokenizer = TweetCapTokenizer.from_pretrained(CHECKPOINT)
    photos = read_starter(corpus, "train")
    texts = [photo.caption for photo in photos] + [tweet.text for photo in photos for tweet in photo.tweets]
    return statistics.mean(len(tokenizer.encode(text)) + 1 for text in texts)


def scalars(folder: Path) -> dict[str, list[float]]:
    """Return what a run logged for TensorBoard, by name."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {name: [event.value for event in events.Scalars(name)] for name in events.Tags()["scalars"]}
