"""What a run is: a frozen tree read from YAML, with overrides from the command line, saved beside the checkpoint."""

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from tweetcap.data.batches import BatchSettings
from tweetcap.data.examples import PHOTO_SOURCES, SOURCES
from tweetcap.data.verdicts import WRITERS
from tweetcap.model import TweetCapConfig

TAKEN = ("best", "last", "samples", "tensorboard")  # folders of a run
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Stage(Section):
    """One stretch of training with its own data and learning rate.

    Attributes:
        name: names the stage's folder.
        sources: source → how many times an epoch goes through it; 0.5 is a fresh random half.
        photos: False reads every text with the null memory.
        epochs: at most; `patience` epochs without a better validation end it sooner.
        learning_rate: highest rate of AdamW for the decoder.
        schedule: where the rate goes after `warmup` of the steps: along a cosine to zero, or nowhere.
        encoder_learning_rate: 0 leaves the CNN frozen, and its features are cached.
        ema: decay of the moving average of the weights that is evaluated and saved in their place; 0 is none.
        scheduled_sampling: probability, at the stage's end, that a word which the network reads is one it drew itself
            (Bengio et al. 2015); it grows linearly from 0.
        weight_power: a text counts as its corpus's weight to this power; 0 lets all texts count alike.
        self_critical: share of the loss of a 説明 that is self-critical (Rennie et al. 2017).
        swapped_concept: probability that a text's animal and its concept become another animal.
        verdict_sharpness: β of `objectives.Verdicts`: how soon a text with verdicts has moved far enough.
        verdict_strength: how much such a text counts beside others.
        choose_by: validation sources whose mean nats a token choose the best epoch; of `drawn` and `mended` it is the
            mean loss of their verdicts a text.
    """

    name: Annotated[str, Field(pattern=r"^\w+$")]
    sources: Annotated[dict[str, Annotated[float, Field(ge=0)]], Field(min_length=1)]
    photos: bool = True
    epochs: Annotated[int, Field(ge=1)]
    learning_rate: float
    encoder_learning_rate: float = 0.0
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: Share = 0.05
    weight_decay: float = 0.02
    dropout: float = 0.2
    label_smoothing: Share = 0.05
    clip: float = 1.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    scheduled_sampling: Share = 0.0
    weight_power: float = 0.0
    self_critical: Share = 0.0
    patience: int = 3
    swapped_concept: Share = 0.0
    verdict_sharpness: Annotated[float, Field(gt=0)] = 0.1
    verdict_strength: Annotated[float, Field(gt=0)] = 1.0
    choose_by: Annotated[list[str], Field(min_length=1)]

    @model_validator(mode="after")
    def fits_together(self):
        # Smoothing spreads probability over words that were not drawn, whatever their reward.
        if self.self_critical and (self.label_smoothing or self.scheduled_sampling):
            raise ValueError(f"stage {self.name}: self_critical needs label_smoothing 0 and scheduled_sampling 0")
        if self.self_critical and not self.photos:
            raise ValueError(f"stage {self.name}: self_critical needs photos, whose captions are the references")
        if not set(WRITERS).isdisjoint(self.sources):
            if self.self_critical or self.label_smoothing or self.scheduled_sampling:
                raise ValueError(
                    f"stage {self.name}: drawn and mended need label_smoothing, scheduled_sampling, self_critical 0"
                )
            if not self.photos:
                raise ValueError(f"stage {self.name}: drawn and mended need photos, beside which they were read")
        elif not set(WRITERS).isdisjoint(self.choose_by):
            raise ValueError(f"stage {self.name}: choose_by drawn or mended needs one of them among its sources")
        return self


class RunConfig(Section):
    """A whole run.

    Attributes:
        encoder_weights: registry package with ImageNet weights; None is random.
        views: of each photo, that a frozen encoder's cached features hold.
        batches_per_step: of all processes together; None is one of each process. The same number gives the same
            losses on any number of processes that divides it.
        mixed_precision: auto is bfloat16 where the hardware multiplies it.
        streaming: read Parquet corpora from one end to the other, photos included, in place of by rows.
        on_nan: a step whose loss or gradient isn't a number ends the run, or leaves the weights as they were.
        bad_rows: a photo or text that can't be read ends the run, or is left out.
        verdicts: CSV files of `drawn` and `mended` texts (`tweetcap/data/verdicts.py`), seen from the config's folder.
        validation_rows: of each Parquet corpus, at most: the first ones.
        sample_photos: validation photos whose texts are kept in each evaluation.
    """

    seed: int = 0
    encoder: str = "tf_efficientnet_lite2"
    encoder_weights: str | None = None
    image_size: int = 260
    views: Annotated[int, Field(ge=1)] = 4
    batches_per_step: Annotated[int, Field(ge=1)] | None = None
    mixed_precision: Literal["auto", "no", "bf16"] = "auto"
    workers: Annotated[int, Field(ge=0)] = 1
    streaming: bool = False
    on_nan: Literal["stop", "skip"] = "stop"
    bad_rows: Literal["stop", "skip"] = "skip"
    verdicts: list[Path] = []
    validation_rows: Annotated[int, Field(ge=1)] = 4000
    sample_photos: Annotated[int, Field(ge=0)] = 6
    model: dict[str, Any] = {}
    batches: dict[str, Any] = {}
    stages: list[Stage]

    @model_validator(mode="after")
    def stages_have_folders_of_their_own(self):
        names = [stage.name for stage in self.stages]
        for name in names:
            if names.count(name) > 1 or name in TAKEN:
                raise ValueError(f"stage {name} needs another name: its folder is that of something else in the run")
        return self


def read_config(path: Path, overrides: list[str]) -> RunConfig:
    """Return the run that a YAML file and `dotted.path=value` overrides describe.

    Raises:
        typer.BadParameter: in one sentence, for a file or an override that describes none.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        for override in overrides:
            place, _, value = override.partition("=")
            *parents, last = place.split(".")
            node = tree
            for key in parents:
                node = node[int(key)] if isinstance(node, list) else node.setdefault(key, {})
            node[int(last) if isinstance(node, list) else last] = yaml.safe_load(value)
        config = RunConfig(**tree)
        config = config.model_copy(update={"verdicts": [path.parent / each for each in config.verdicts]})
        TypeAdapter(BatchSettings).validate_python(config.batches)
        known = {
            "source": ({source for stage in config.stages for source in stage.sources}, SOURCES),
            "choose_by": ({source for stage in config.stages for source in stage.choose_by}, PHOTO_SOURCES),
            "model": (set(config.model), set(inspect.signature(TweetCapConfig).parameters) - {"kwargs"}),
            "batches": (set(config.batches), {field.name for field in fields(BatchSettings)} - {"swapped_concept"}),
        }
        for name, (given, possible) in known.items():
            if given - set(possible):
                unknown = min(given - set(possible))
                raise ValueError(f"{name} {unknown!r} is unknown; choose from {', '.join(sorted(possible))}")
        return config
    except ValidationError as error:
        first = error.errors()[0]
        raise typer.BadParameter(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from error
    except (OSError, ValueError, KeyError, IndexError, TypeError, yaml.YAMLError) as error:
        raise typer.BadParameter(f"{path} is no training config: {error}.") from error


def choose_stages(config: RunConfig, names: str | None) -> RunConfig:
    """Return the run with only the stages named, in the order named.

    Raises:
        typer.BadParameter: the config has no such stage.
    """
    if names is None:
        return config
    by_name = {stage.name: stage for stage in config.stages}
    unknown = [name for name in names.split(",") if name not in by_name]
    if unknown:
        raise typer.BadParameter(f"stage {unknown[0]!r} is unknown; the config has {', '.join(by_name)}.")
    return config.model_copy(update={"stages": [by_name[name] for name in names.split(",")]})


def save_config(config: RunConfig, output: Path) -> None:
    """Write `config.yaml` into a run's folder.

    Raises:
        typer.BadParameter: the folder holds an unfinished run with another config; says what differs.
    """
    path = output / "config.yaml"
    tree = config.model_dump(mode="json")
    if path.exists() and any((output / name).exists() for name in ("last", "last.old")):
        before = yaml.safe_load(path.read_text(encoding="utf-8"))
        differing = [key for key in tree if before.get(key) != tree[key]]
        if differing:
            key = differing[0]
            what = key if isinstance(tree[key], (list, dict)) else f"{key} {before.get(key)} in place of {tree[key]}"
            raise typer.BadParameter(f"{output} holds a run with another config ({what}); choose another --output.")
    output.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(tree, allow_unicode=True, sort_keys=False), encoding="utf-8")
