"""The model card: what people wrote in notes.md, and around it what the weights, the config and metrics.json say.

    write_card(Path("runs/mine/best"), title="ORG/NAME")  # CHECKPOINT/README.md

notes.md begins with YAML: `license` is needed, and what else the Hub knows (datasets, base_model, widget, …) goes into
the card as it stands. `training`, with hours, watts and grams_per_kwh, gives the carbon estimate. Then come a title, a
sentence, and the sections of `SECTIONS`, in the writer's own words.
"""

import json
import math
import re
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from safetensors import SafetensorError, safe_open

from tweetcap.data.hub import WEIGHTS, PublishError
from tweetcap.evaluate.figures import interval, printed
from tweetcap.evaluate.measures import Estimate
from tweetcap.evaluate.predictions import revision_of
from tweetcap.write.writer import SEEN_TEXTS

CARD = "README.md"
NOTES = "notes.md"
METRICS = "metrics.json"
SECTIONS = ("Training data", "Intended use", "Limits")
TAGS = ("image-captioning", "humour", "animals", "cnn-lstm")
# What metrics.json may say in public: no paths, no photos, no texts.
PUBLIC = ("revision", "split", "photos", "parameters", "seed", "method", "figures")
NUMBERS_OF_CARBON = ("hours", "watts", "grams_per_kwh")
FLOATS = {"F16": "float16", "BF16": "bfloat16", "F32": "float32"}
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def build_card(
    checkpoint: Path, *, repo_id: str | None = None, notes: Path | None = None, metrics: dict[str, Any] | None = None
) -> ModelCard:
    """Return the card of a checkpoint.

    Args:
        repo_id: its name on the Hub; None for the embedded checkpoint, which has none.
        notes: CHECKPOINT/notes.md if left out.
        metrics: what `read_metrics` returns; without it the card says that nothing was measured.

    Raises:
        PublishError: the notes lack something, or something can't be read.
    """
    data, title, introduction, sections = _read_notes(notes or checkpoint / NOTES)
    training = data.pop("training", None) or {}
    carbon = _carbon(training, notes or checkpoint / NOTES)
    if carbon:
        data["co2_eq_emissions"] = carbon["metadata"]
    defaults = {"language": ["ja"], "library_name": "transformers", "pipeline_tag": "image-to-text"}
    tags = [*TAGS, *(data.pop("tags", None) or ())]
    name = (repo_id or title).split("/")[-1]
    results = {"model_name": name, "eval_results": _eval_results(metrics)} if metrics else {}
    try:
        card_data = ModelCardData(**{**defaults, **data, "tags": tags, **results})
    except (TypeError, ValueError) as error:
        raise PublishError(f"{notes or checkpoint / NOTES} has YAML that no card may have ({error}).") from error
    parts = [
        f"# {title}",
        introduction,
        _size(checkpoint),
        _usage(repo_id),
        sections,
        _quality(metrics),
        carbon["text"] if carbon else "",
        _files(checkpoint, repo_id, metrics),
    ]
    text = "\n\n".join(part.strip() for part in parts if part.strip())
    card = ModelCard(f"---\n{card_data.to_yaml()}\n---\n\n{text}\n", ignore_metadata_errors=False)
    if metrics and card.data.eval_results != results["eval_results"]:
        raise PublishError(f"{checkpoint / METRICS} has results that don't survive the card's YAML; evaluate again.")
    return card


# --- What people wrote ----------------------------------------------------------------------------


def _read_notes(path: Path) -> tuple[dict[str, Any], str, str, str]:
    """Return the YAML, the title, what stands before the first section, and the sections."""
    if not path.is_file():
        raise PublishError(
            f"{path} is missing; write there YAML with a license, `# Title`, and the sections "
            f"{', '.join(SECTIONS)}, as tweetcap/checkpoint/{NOTES} does."
        )
    text = path.read_text(encoding="utf-8", errors="replace")
    begin = re.match(r"---\s*\n(.*?)\n---\s*\n", text, re.DOTALL)
    try:
        data = yaml.safe_load(begin[1]) if begin else {}
    except yaml.YAMLError as error:
        raise PublishError(f"{path} has YAML that can't be read ({' '.join(str(error).split())}); mend it.") from error
    if not isinstance(data, dict) or not data.get("license"):
        raise PublishError(f"{path} has no license in its YAML; add it, such as `license: cc-by-4.0`.")
    body = text[begin.end() :].strip()
    title = re.match(r"# (.+)\n?", body)
    if title is None:
        raise PublishError(f"{path} has no title; behind the YAML it begins with `# Name`.")
    introduction, *sections = re.split(r"^(?=## )", body[title.end() :], flags=re.MULTILINE)
    for heading in SECTIONS:
        if not any(re.match(rf"## {heading}\s*\n\s*\S", section) for section in sections):
            raise PublishError(f"{path} has nothing under `## {heading}`; add it.")
    return data, title[1].strip(), introduction, "".join(sections)


def _carbon(training: dict[str, Any], path: Path) -> dict[str, Any] | None:
    """Return the estimate for metadata and text; None where the notes say nothing of the training.

    hours × watts ÷ 1000 × grams of CO2 equivalent a kWh, as Lacoste et al. 2019 have it.
    """
    if not training:
        return None
    numbers = [training.get(name) if isinstance(training, dict) else None for name in NUMBERS_OF_CARBON]
    for name, number in zip(NUMBERS_OF_CARBON, numbers, strict=True):
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not (0 <= number < 1e9):
            raise PublishError(
                f"{path} has no number for {name} under `training`; give all of hours, watts, and grams."
            )
    hours, watts, grams = numbers
    emissions = hours * watts / 1000 * grams
    hardware, assumption = str(training.get("hardware") or ""), str(training.get("assumption") or "")
    formula = f"{hours:g} h × {watts:g} W ÷ 1000 × {grams:g} g/kWh = {emissions:,.3g} g CO₂eq"
    metadata = {"emissions": round(emissions, 3), "source": f"estimated: {formula}"}
    if hardware:
        metadata["hardware_used"] = hardware
    on = f" on {hardware}" if hardware else ""
    text = f"## Carbon\n\nTraining took {hours:g} h{on}: {formula}, an estimate. {assumption}"
    return {"metadata": metadata, "text": text}


# --- What was measured ----------------------------------------------------------------------------


def read_metrics(path: Path, checkpoint: Path) -> dict[str, Any]:
    """Return of what `tweetcap evaluate` wrote that which may be public.

    Raises:
        PublishError: it can't be read, or was measured on other weights.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        figures = found["figures"]
        known = {"photos", "revision"} <= found.keys() and all(map(_is_figure, figures.values()))
    except OSError as error:
        raise PublishError(
            f"{path} can't be read ({error.strerror}); give the metrics.json of an evaluation."
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        known = False
    if not known or not figures:
        raise PublishError(f"{path} is not the metrics.json of `tweetcap evaluate`; give that.")
    weights = revision_of(str(checkpoint), None)
    if found.get("revision") != weights:
        raise PublishError(
            f"{path} was measured on other weights ({found.get('revision')}) than those of {checkpoint} ({weights}); "
            f"run `tweetcap evaluate --model {checkpoint}`."
        )
    corpus = Path(str(found.get("corpus") or "unknown")).name
    return {"corpus": corpus, **{name: found[name] for name in PUBLIC if name in found}}


def _is_figure(figure: dict[str, Any]) -> bool:
    numbers = [figure[name] for name in ("value", "low", "high")] + [figure.get("references")]
    return {"group", "style"} <= figure.keys() and all(
        number is None or (isinstance(number, (int, float)) and math.isfinite(number)) for number in numbers
    )


def _headlines(metrics: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the figures that say how good it is: those that go up or down with quality, have a bar, or are nats."""
    return {
        name.replace("in that span", "in the longest span from training"): figure
        for name, figure in metrics["figures"].items()
        if figure["value"] is not None and (figure.get("better") or figure.get("bar") or "nats a word" in name)
    }


def _eval_results(metrics: dict[str, Any]) -> list[EvalResult]:
    return [
        EvalResult(
            task_type="image-to-text",
            dataset_type=metrics["corpus"],
            dataset_name=metrics["corpus"],
            dataset_split=metrics.get("split"),
            metric_type=_metric_type(name),
            metric_name=name,
            metric_value=round(figure["value"], 4),
        )
        for name, figure in _headlines(metrics).items()
    ]


def _metric_type(name: str) -> str:
    """Return the Hub's name of a measure where it has one, and else one made of the figure's own."""
    for known in ("BLEU", "ROUGE", "chrF", "CIDEr"):
        if f": {known}" in name:
            return known.lower()
    return re.sub(r"\W+", "_", name.replace("説明", "description"), flags=re.ASCII).strip("_").lower()


def _quality(metrics: dict[str, Any] | None) -> str:
    if not metrics:
        return "## How good it is\n\nNothing was measured."
    parameters = metrics.get("parameters") or {}
    settings = ", ".join(
        f"{name.replace('_', '-')} {parameters[name]}"
        for name in ("temperature", "top_p", "guidance")
        if name in parameters
    )
    tweets = f", {parameters['count']} tweets each ({settings})" if "count" in parameters else ""
    lines = [
        "## How good it is",
        "",
        f"{metrics['photos']} photos of {metrics['corpus']}, {metrics.get('split') or 'its only split'}{tweets}, seed "
        f"{metrics.get('seed')}. 説明 is the plain description; the last column is the same figure of the texts "
        f"that it is compared with. [{METRICS}]({METRICS}) has every figure, and how each is measured.",
    ]
    group = None
    for name, figure in _headlines(metrics).items():
        if figure["group"] != group:
            group = figure["group"]
            lines += ["", f"| {group} | measured | 95 % interval | references |", "|---|---|---|---|"]
        style, low, high = figure["style"], figure["low"], figure["high"]
        between = "" if None in (low, high) else interval(Estimate(figure["value"], low, high), style)
        references = "" if figure.get("references") is None else printed(figure["references"], style)
        lines.append(f"| {name} | {printed(figure['value'], style)} | {between} | {references} |")
    return "\n".join(lines)


# --- What the files say ---------------------------------------------------------------------------


def _size(checkpoint: Path) -> str:
    try:
        config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
        encoder, decoder, kinds = _count(checkpoint / WEIGHTS)
        words, network = config["vocab_size"], config["encoder_name"]
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise PublishError(f"{checkpoint} is no whole checkpoint ({type(error).__name__}); save it again.") from error
    return (
        f"{(encoder + decoder) / 1e6:.1f} M parameters: {encoder / 1e6:.1f} M in the encoder (`{network}`), "
        f"{decoder / 1e6:.1f} M in the decoder, which knows {words:,} words and pieces; stored as {kinds}."
    )


def _count(weights: Path) -> tuple[int, int, str]:
    """Return the parameters of encoder and decoder and how they are stored, from the header of a safetensors file."""
    with safe_open(weights, "pt") as file:
        tensors = {name: file.get_slice(name) for name in file.keys() if not name.endswith(BUFFERS)}
    sizes = {name: math.prod(tensor.get_shape()) for name, tensor in tensors.items()}
    encoder = sum(size for name, size in sizes.items() if name.startswith("encoder."))
    kinds = sorted({FLOATS[kind] for tensor in tensors.values() if (kind := tensor.get_dtype()) in FLOATS})
    return encoder, sum(sizes.values()) - encoder, " and ".join(kinds)


def _usage(repo_id: str | None) -> str:
    given = f'"{repo_id}"' if repo_id else ""
    package = (
        "```python\nfrom tweetcap import TweetWriter\n\n"
        f'for tweet in TweetWriter.from_pretrained({given}).write("cat.jpg"):\n    print(tweet.tone, tweet.text)\n```'
    )
    if repo_id is None:
        return f"## How to use it\n\n{package}"
    return f"""## How to use it

With the package, which samples, filters and ranks, and runs no code from here:

{package}

Without it; `trust_remote_code` runs the code of this repository, so put the commit that you have read for `main`:

```python
from transformers import pipeline

write = pipeline("image-to-text", model="{repo_id}", revision="main", trust_remote_code=True)
print(write("cat.jpg", tone="つぶやき"))
```

`fugashi`, `unidic-lite` and `timm` are needed then too. The package's repository lists the versions tried together."""


def _files(checkpoint: Path, repo_id: str | None, metrics: dict[str, Any] | None) -> str:
    where = "here, the files that end in .py" if repo_id else "the package's, tweetcap/model/"
    measured = f"`{METRICS}`, what was measured; " if metrics else ""
    kept = f"`{SEEN_TEXTS}`, 32-bit hashes of training texts, so that the writer never repeats one; "
    seen = kept if (checkpoint / SEEN_TEXTS).is_file() else ""
    return (
        "## What is in this folder\n\n"
        f"`model.safetensors`, `vocab.json` and their configs; {seen}{measured}this card. "
        f"The network's code is {where}."
    )
