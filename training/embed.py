"""Turn a trained checkpoint into the embedded one: weights, vocabulary, hashes of the training texts, the card.

python training/embed.py --checkpoint runs/starter/best --metrics runs/starter/evaluation/metrics.json \
    --output tweetcap/checkpoint
"""

import json
import shutil
from pathlib import Path
from typing import Annotated

import typer

from tweetcap.commands.terminal import sentences
from tweetcap.publish.card import CARD, METRICS, build_card, read_metrics
from tweetcap.write.writer import CHECKPOINT_FILES

CORPUS = "animal_tweets_starter"  # as it is called where it is published, wherever it lies here


def main(
    checkpoint: Annotated[Path, typer.Option(help="Folder that train.py wrote.")],
    output: Annotated[Path, typer.Option(help="Folder of the embedded checkpoint; its notes.md stays.")],
    metrics: Annotated[
        Path | None, typer.Option(help="What `tweetcap evaluate` measured of the checkpoint, for the card.")
    ] = None,
) -> None:
    """Copy what the writer needs, write its card, and say how large it is."""
    with sentences():
        output.mkdir(parents=True, exist_ok=True)
        # The package has the network's code; a second copy beside the weights could only drift from it.
        for name in CHECKPOINT_FILES:
            shutil.copyfile(checkpoint / name, output / name)
        (output / METRICS).unlink(missing_ok=True)  # those of the checkpoint before
        found = read_metrics(metrics, output) | {"corpus": CORPUS} if metrics else None
        if found:
            text = json.dumps(found, ensure_ascii=False, indent=2)
            (output / METRICS).write_text(text + "\n", encoding="utf-8")
        (output / CARD).write_text(str(build_card(output, metrics=found)), encoding="utf-8")
        size = sum(file.stat().st_size for file in output.iterdir())
        typer.echo(f"{output}: {size / 2**20:.1f} MiB")


if __name__ == "__main__":
    typer.run(main)
