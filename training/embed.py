"""Turn a trained checkpoint into the embedded one: weights, vocabulary, and the hashes of every training text.

python training/embed.py --checkpoint runs/starter/best --corpus CORPUS --output tweetcap/checkpoint
"""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from tweetcap.data.starter import read_training_texts
from tweetcap.write.filters import SeenTexts
from tweetcap.write.writer import SEEN_TEXTS

# The package has the network's code; a second copy beside the weights could only drift from it.
KEPT = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "processor_config.json",
    "tokenizer_config.json",
    "vocab.json",
)


def main(
    checkpoint: Annotated[Path, typer.Option(help="Folder that train.py wrote.")],
    corpus: Annotated[Path, typer.Option(help="The corpus it was trained on.")],
    output: Annotated[Path, typer.Option(help="Folder of the embedded checkpoint; its README.md stays.")],
) -> None:
    """Copy what the writer needs and say how large it is."""
    output.mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        shutil.copyfile(checkpoint / name, output / name)
    SeenTexts.from_texts(read_training_texts(corpus)).save(output / SEEN_TEXTS)
    size = sum(file.stat().st_size for file in output.iterdir())
    typer.echo(f"{output}: {size / 2**20:.1f} MiB")


if __name__ == "__main__":
    typer.run(main)
