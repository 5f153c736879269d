"""Train TweetCap: language without photos, then captions, then tweets; one loop, the stages listed in the config.

    accelerate launch training/train.py --config training/configs/starter.yaml \\
        --corpus CORPUS --tokenizer runs/tokenizer --output runs/starter

The output folder holds `config.yaml` (the run as it was), `best/` (a checkpoint to use), one folder a finished stage,
`last/` (to go on after a cut: run the same command again), `history.jsonl`, `curves.png` and TensorBoard logs.
"""

import inspect
import json
import math
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
import yaml
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from accelerate.utils import ProjectConfiguration, set_seed
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch.nn import functional as F
from torch.utils.data import DataLoader
from tqdm import tqdm

from tweetcap.data.concepts import concept_words, label_photos, teach_concepts
from tweetcap.data.examples import PHOTO_SOURCES, SOURCES, BatchSettings, Corpus, EpochBatches, epoch_examples
from tweetcap.data.features import FeatureCache, PhotoViews, supports_bfloat16
from tweetcap.model import (
    TweetCapConfig,
    TweetCapEncoderOutput,
    TweetCapForConditionalGeneration,
    TweetCapImageProcessor,
    TweetCapProcessor,
    TweetCapTokenizer,
    save_checkpoint,
)


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Stage(Section):
    """One stretch of training with its own data and learning rate.

    Attributes:
        name: names the stage's folder.
        sources: source → how many times an epoch goes through it; 0.5 is a fresh random half.
        photos: False reads every text with the null memory.
        epochs: at most; `patience` epochs without a better validation end it sooner.
        learning_rate: highest rate of AdamW for the decoder; a cosine leads to zero after `warmup` of the steps.
        encoder_learning_rate: 0 leaves the CNN frozen, and its features are cached.
        swapped_concept: probability that a text's animal and its concept become another animal.
        choose_by: validation sources whose mean nats a token choose the best epoch.
    """

    name: str
    sources: dict[str, float]
    photos: bool = True
    epochs: int
    learning_rate: float
    encoder_learning_rate: float = 0.0
    warmup: float = 0.05
    weight_decay: float = 0.02
    dropout: float = 0.2
    label_smoothing: float = 0.05
    clip: float = 1.0
    patience: int = 3
    swapped_concept: float = 0.0
    choose_by: list[str]


class RunConfig(Section):
    """A whole run; read from YAML, saved beside the checkpoint."""

    seed: int = 0
    encoder: str = "tf_efficientnet_lite2"
    encoder_weights: str | None = Field(None, description="registry package with ImageNet weights; None is random")
    image_size: int = 260
    views: int = 4
    accumulate: int = 1
    workers: int = 1
    model: dict[str, Any] = {}
    batches: dict[str, Any] = {}
    stages: list[Stage]


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


def build_model(config: RunConfig, corpus: Path, tokenizer: TweetCapTokenizer) -> TweetCapForConditionalGeneration:
    """Return a fresh model, its encoder with ImageNet weights where the config names them.

    Args:
        corpus: the animals of its photos are the concepts, beside ImageNet's.
    """
    concept_map = concept_words(corpus) if config.encoder_weights else {}
    # The last row belongs to photos without an animal.
    num_classes = 2 + max(row for rows in concept_map.values() for row in rows) if concept_map else 0
    model_config = TweetCapConfig(
        vocab_size=len(tokenizer),
        encoder_name=config.encoder,
        concept_classes=list(concept_map.values()),
        concept_token_ids=[tokenizer.encode(word) for word in concept_map],
        num_classes=num_classes,
        **config.model,
    )
    model = TweetCapForConditionalGeneration(model_config)
    if config.encoder_weights:
        cnn, _ = imagenet_weights(config)
        model.encoder.cnn.load_state_dict(cnn)
    return model


def imagenet_weights(config: RunConfig) -> tuple[dict[str, torch.Tensor], torch.nn.Linear]:
    """Return the CNN's ImageNet weights and ImageNet's classifier, from the registry package that ships them.

    The package's state dict has other names than timm's, but the same entries in the same order.

    Raises:
        ValueError: where number or shape of the entries differ.
    """
    import importlib

    import timm

    encoder, package = config.encoder, config.encoder_weights
    module = importlib.import_module(package)
    model_file = next(value for name, value in vars(module).items() if name.endswith("ModelFile"))
    state = torch.load(model_file.get_model_file_path(), weights_only=True, map_location="cpu")
    whole = timm.create_model(encoder, pretrained=False)
    names = list(whole.state_dict())
    if len(names) != len(state):
        raise ValueError(f"{package} has {len(state)} tensors, {encoder} {len(names)}; choose the matching package.")
    whole.load_state_dict(dict(zip(names, state.values(), strict=True)))
    classifier = whole.get_classifier()
    whole.reset_classifier(0)
    return whole.state_dict(), classifier


def to_inputs(model: TweetCapForConditionalGeneration, batch: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Return the model's keyword arguments for a batch: photos encoded (or taken from the cache), concepts hidden."""
    inputs = {"labels": batch["labels"], "photo_mask": batch["photo_mask"], "use_cache": False}
    if "pixel_values" in batch:
        outputs = model.encoder(batch["pixel_values"])
    elif "pooler_output" in batch:
        pooled = batch["pooler_output"]
        if "concept_ids" in batch:
            found = batch["concept_ids"], batch["concept_log_probs"]
        else:
            found = model.encoder.find_concepts(pooled)
        outputs = TweetCapEncoderOutput(batch["last_hidden_state"], pooled, *found)
    else:
        return inputs
    if outputs.concept_log_probs is not None:
        outputs.concept_log_probs = outputs.concept_log_probs.masked_fill(~batch["concept_mask"], -math.inf)
    return inputs | {"encoder_outputs": outputs}


@torch.no_grad()
def evaluate(model, corpus: Corpus, photos, settings: BatchSettings, accelerator: Accelerator) -> dict[str, float]:
    """Return validation nats a token (end token counted, tone and register not) by source, `…/null` without photo."""
    model.eval()
    totals = {}
    for source, examples in corpus.examples.items():
        batches = EpochBatches(examples, photos, settings, model.config.num_concepts, train=False)
        for suffix in ("", "/null"):
            nats = tokens = 0.0
            for number in range(accelerator.process_index, len(batches), accelerator.num_processes):
                batch = {name: tensor.to(accelerator.device) for name, tensor in batches[number].items()}
                if suffix:
                    batch["photo_mask"] = torch.zeros_like(batch["photo_mask"])
                labels = batch["labels"]
                positions = torch.arange(labels.shape[1], device=labels.device)
                labels = labels.masked_fill(positions < batch["prompt_lengths"][:, None], -100)
                with accelerator.autocast():
                    logits = model(**to_inputs(model, batch)).logits
                nats += F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), reduction="sum").item()
                tokens += (labels != -100).sum().item()
            summed = accelerator.reduce(torch.tensor([nats, tokens], device=accelerator.device, dtype=torch.float64))
            totals[source + suffix] = (summed[0] / summed[1].clamp_min(1)).item()
    model.train()
    model.encoder.eval()
    return totals


def set_rate(optimizer, step: int, warmup: int, total: int) -> float:
    """Set every group's rate for a step and return the factor: linear warm-up, then a cosine to zero.

    The rate depends on the step alone, so there is no scheduler whose state could be lost in a cut.
    """
    if step < warmup:
        factor = (step + 1) / warmup
    else:
        factor = 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup))))
    for group in optimizer.param_groups:
        group["lr"] = factor * group["highest_lr"]
    return factor


def build_optimizer(model: TweetCapForConditionalGeneration, stage: Stage) -> torch.optim.AdamW:
    """Return AdamW with weight decay on matrices only, and the thawed encoder at its own rate."""
    thawed = stage.encoder_learning_rate > 0
    model.encoder.requires_grad_(False)
    model.encoder.cnn.requires_grad_(thawed)  # the class rows stay: concepts are ImageNet's
    decoder = [p for name, p in model.named_parameters() if not name.startswith("encoder.")]
    parts = [(decoder, stage.learning_rate)]
    if thawed:
        parts.append((list(model.encoder.cnn.parameters()), stage.encoder_learning_rate))
    groups = []
    for parameters, rate in parts:
        matrices, others = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]
        groups.append({"params": matrices, "highest_lr": rate, "weight_decay": stage.weight_decay})
        groups.append({"params": others, "highest_lr": rate, "weight_decay": 0.0})
    return torch.optim.AdamW(groups, lr=stage.learning_rate, betas=(0.9, 0.98), fused=True)


class Progress:
    """Where a run is: what has to survive a cut beside weights, optimiser and random states."""

    def __init__(self):
        self.stage = self.epoch = self.batch = self.step = self.bad_epochs = 0
        self.best = math.inf

    def state_dict(self) -> dict:
        return dict(vars(self))

    def load_state_dict(self, state: dict) -> None:
        vars(self).update(state)

    def next_stage(self) -> None:
        self.stage += 1
        self.epoch = self.batch = self.step = self.bad_epochs = 0
        self.best = math.inf


class Run:
    """One run in one output folder."""

    def __init__(
        self,
        config: RunConfig,
        corpus: Path,
        tokenizer: Path,
        output: Path,
        save_every: int,
        start: Path | None,
    ):
        kwargs = DistributedDataParallelKwargs(find_unused_parameters=True)
        self.accelerator = Accelerator(
            mixed_precision="bf16" if supports_bfloat16(PartialState().device) else "no",
            gradient_accumulation_steps=config.accumulate,
            log_with="tensorboard",
            project_config=ProjectConfiguration(project_dir=output, logging_dir=output),
            kwargs_handlers=[kwargs],
        )
        set_seed(config.seed)
        self.config, self.folder, self.output, self.save_every = config, corpus, output, save_every
        size = {"height": config.image_size, "width": config.image_size}
        self.processor = TweetCapProcessor(
            TweetCapImageProcessor(size=size), TweetCapTokenizer.from_pretrained(tokenizer)
        )
        if start:
            self.model = TweetCapForConditionalGeneration.from_pretrained(start)
        else:
            self.model = build_model(config, corpus, self.processor.tokenizer)
        if self.model.config.vocab_size != len(self.processor.tokenizer):
            raise ValueError(
                f"{start} has {self.model.config.vocab_size} tokens, {tokenizer} {len(self.processor.tokenizer)}; "
                "give the checkpoint as --tokenizer too."
            )
        self.model.encoder.to(memory_format=torch.channels_last)
        self.settings = BatchSettings(**config.batches)
        sources = list(dict.fromkeys(source for stage in config.stages for source in stage.sources))
        chosen = list(dict.fromkeys(source for stage in config.stages for source in stage.choose_by))
        self.corpora = {
            "train": Corpus(corpus, "train", self.processor.tokenizer, sources),
            "validation": Corpus(corpus, "validation", self.processor.tokenizer, chosen),
        }
        for name in self.corpora["train"].missing:
            tqdm.write(f"{corpus} has no {name}: training goes on without it.")
        self.progress = Progress()

    def photos_of(self, split: str, stage: Stage) -> FeatureCache | PhotoViews | None:
        corpus = self.corpora[split]
        if not corpus.photo_paths or (split == "train" and not stage.photos):
            return None
        views = PhotoViews(corpus.photo_paths, self.processor.image_processor, self.config.seed)
        if stage.encoder_learning_rate > 0:
            return views
        count = self.config.views if split == "train" else 1
        model = self.accelerator.unwrap_model(self.model)
        with self.accelerator.main_process_first():
            cache = FeatureCache.build(model, views, count, self.output.parent / "features")
        if split == "train" and self.config.encoder_weights:
            _, classifier = imagenet_weights(self.config)
            labels = label_photos(self.folder, corpus.photo_paths, list(concept_words(self.folder)))
            cache.concepts = teach_concepts(model.encoder, classifier, cache.pooled, labels, self.config.seed)
        return cache

    def train(self) -> None:
        accelerator = self.accelerator
        self.output.mkdir(parents=True, exist_ok=True)
        self.model.to(accelerator.device)
        accelerator.init_trackers("tensorboard")
        last, old = self.output / "last", self.output / "last.old"
        if old.exists() and not last.exists():
            old.rename(last)  # the run was cut between two renames
        resumed = (last / "progress.json").exists()
        if resumed:
            self.progress.load_state_dict(json.loads((last / "progress.json").read_text()))
        while self.progress.stage < len(self.config.stages):
            self.train_stage(self.config.stages[self.progress.stage], last if resumed else None)
            resumed = False
            self.progress.next_stage()
        accelerator.end_training()

    def train_stage(self, stage: Stage, resume_from: Path | None) -> None:
        accelerator, progress, config = self.accelerator, self.progress, self.config
        plain = self.model
        plain.config.dropout = stage.dropout
        optimizer = build_optimizer(plain, stage)
        epoch_length = len(self.batches(stage, 0, None)) // accelerator.num_processes
        # No accumulation reaches over the end of an epoch, where the run may be cut.
        epoch_length -= epoch_length % config.accumulate
        if not epoch_length:
            raise ValueError(f"Stage {stage.name} has too few texts for one step; lower batch_size or accumulate.")
        total = stage.epochs * epoch_length // config.accumulate
        warmup = max(1, round(stage.warmup * total))
        model, optimizer = accelerator.prepare(plain, optimizer)
        if resume_from:
            accelerator.load_state(resume_from / "state")
        photos = self.photos_of("train", stage)  # only now: an earlier stage may have thawed the encoder
        validation_photos = self.photos_of("validation", stage)
        plain.train()
        plain.encoder.eval()  # thawed or not, batch statistics stay ImageNet's: ours are too few to replace them
        while progress.epoch < stage.epochs and progress.bad_epochs < stage.patience:
            batches = self.batches(stage, progress.epoch, photos)
            mine = range(accelerator.process_index, epoch_length * accelerator.num_processes, accelerator.num_processes)
            # A loader draws a seed when it starts; from the global generator that would shift dropout after a cut.
            loader = DataLoader(
                batches,
                batch_size=None,
                sampler=mine[progress.batch :],
                num_workers=config.workers,
                generator=torch.Generator(),
            )
            bar = tqdm(
                loader,
                desc=f"{stage.name} {progress.epoch + 1}/{stage.epochs}",
                initial=progress.batch,
                total=epoch_length,
                disable=not accelerator.is_main_process,
            )
            for batch in bar:
                batch = {name: tensor.to(accelerator.device) for name, tensor in batch.items()}
                with accelerator.accumulate(model):
                    with accelerator.autocast():
                        inputs = to_inputs(plain, batch)
                    loss = model(**inputs, label_smoothing=stage.label_smoothing).loss
                    if not torch.isfinite(loss):
                        raise FloatingPointError(
                            f"The loss of batch {progress.batch} in epoch {progress.epoch} of stage {stage.name} is "
                            f"{loss.item()}; lower learning_rate or look at its texts."
                        )
                    accelerator.backward(loss)
                    if accelerator.sync_gradients:
                        accelerator.clip_grad_norm_(model.parameters(), stage.clip)
                    factor = set_rate(optimizer, progress.step, warmup, total)
                    optimizer.step()
                    optimizer.zero_grad()
                    progress.step += accelerator.sync_gradients
                progress.batch += 1
                if progress.batch % 20 == 0:
                    self.log(
                        {
                            f"{stage.name}/loss": loss.item(),
                            f"{stage.name}/rate": factor * stage.learning_rate,
                        },
                        bar,
                    )
                if self.save_every and progress.batch % self.save_every == 0 and accelerator.sync_gradients:
                    self.save_state()
            progress.epoch += 1
            progress.batch = 0
            self.validate(stage, plain, validation_photos)
            self.save_state()
        best = self.output / stage.name
        if best.exists():
            plain.load_state_dict(TweetCapForConditionalGeneration.from_pretrained(best).state_dict())
        accelerator.free_memory()  # the next stage prepares an optimiser of its own

    def batches(self, stage: Stage, epoch: int, photos) -> EpochBatches:
        seed = self.config.seed + 1000 * self.progress.stage
        rows = epoch_examples(self.corpora["train"], stage.sources, seed, epoch)
        return EpochBatches(
            rows,
            photos,
            replace(self.settings, swapped_concept=stage.swapped_concept),
            self.model.config.num_concepts,
            seed,
            epoch,
            concept_words=self.model.config.concept_token_ids,
        )

    def validate(self, stage: Stage, plain, photos) -> None:
        """Measure, log, and keep the weights if they are the best of this stage."""
        progress = self.progress
        figures = evaluate(plain, self.corpora["validation"], photos, self.settings, self.accelerator)
        suffix = "" if stage.photos else "/null"
        score = float(np.mean([figures[source + suffix] for source in stage.choose_by]))
        better = score < progress.best
        progress.best, progress.bad_epochs = (score, 0) if better else (progress.best, progress.bad_epochs + 1)
        if not self.accelerator.is_main_process:
            return
        self.accelerator.log({f"validation/{name}": value for name, value in figures.items()}, self.global_step())
        row = {"stage": stage.name, "epoch": progress.epoch, "step": progress.step, "score": score, **figures}
        append_row(self.output / "history.jsonl", row)
        tqdm.write(
            " ".join(f"{name} {value:.3f}" if isinstance(value, float) else str(value) for name, value in row.items())
        )
        draw_curves(self.output)
        if better:
            for folder in (self.output / stage.name, self.output / "best"):
                save_checkpoint(plain, self.processor, folder)

    def log(self, figures: dict[str, float], bar: tqdm) -> None:
        self.accelerator.log(figures, self.global_step())
        bar.set_postfix_str(" ".join(f"{name.rsplit('/')[-1]} {value:.4g}" for name, value in figures.items()))

    def global_step(self) -> int:
        return self.progress.stage * 1_000_000 + self.progress.step

    def save_state(self) -> None:
        """Write `last/`; the old one stays until the new one is whole."""
        last, old, fresh = (self.output / name for name in ("last", "last.old", "last.new"))
        self.accelerator.save_state(fresh / "state")
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            (fresh / "progress.json").write_text(json.dumps(self.progress.state_dict()))
            shutil.rmtree(old, ignore_errors=True)
            if last.exists():
                last.rename(old)
            fresh.rename(last)
            shutil.rmtree(old, ignore_errors=True)
        self.accelerator.wait_for_everyone()


def append_row(history: Path, row: dict[str, Any]) -> None:
    """Add an epoch to the history; one that a cut run measured twice stays once."""
    lines = history.read_text(encoding="utf-8").splitlines() if history.exists() else []
    rows = [json.loads(line) for line in lines]
    rows = [old for old in rows if (old["stage"], old["epoch"]) != (row["stage"], row["epoch"])]
    history.write_text("".join(json.dumps(each) + "\n" for each in (*rows, row)), encoding="utf-8")


def draw_curves(output: Path) -> None:
    """Draw validation nats a token by source over the epochs of all stages into `curves.png`."""
    from matplotlib.figure import Figure

    rows = [json.loads(line) for line in (output / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    names = [name for name in rows[-1] if name not in ("stage", "epoch", "step", "score")]
    for index, name in enumerate(names):
        style = "--" if name.endswith("/null") else "-"
        axes.plot([row.get(name) for row in rows], style, marker=".", color=f"C{index // 2}", label=name)
    for place in range(1, len(rows)):
        if rows[place]["stage"] != rows[place - 1]["stage"]:
            axes.axvline(place - 0.5, color="grey", linewidth=0.8)
    axes.set(xlabel="epochs, stages divided by lines", ylabel="validation nats a token")
    axes.legend()
    figure.savefig(output / "curves.png", dpi=110)


def main(
    config: Annotated[Path, typer.Option(help="YAML file under training/configs.")],
    corpus: Annotated[Path, typer.Option(help="Corpus folder.")],
    tokenizer: Annotated[Path, typer.Option(help="Folder made by train_tokenizer.py, or a checkpoint.")],
    output: Annotated[Path, typer.Option(help="Run folder; an unfinished run in it goes on.")],
    start: Annotated[Path | None, typer.Option(help="Checkpoint to start from; its architecture counts.")] = None,
    stages: Annotated[str | None, typer.Option(help="Run only these stages: captions,tweets.")] = None,
    override: Annotated[list[str], typer.Option(help="dotted.path=value, e.g. stages.0.epochs=1.")] = [],  # noqa: B006
    save_every: Annotated[int, typer.Option(help="Batches between saves within an epoch; 0: only after epochs.")] = 500,
) -> None:
    """Train, or go on with a run that was cut."""
    run_config = read_config(config, override)
    if stages:
        by_name = {stage.name: stage for stage in run_config.stages}
        unknown = [name for name in stages.split(",") if name not in by_name]
        if unknown:
            raise typer.BadParameter(f"stage {unknown[0]!r} is unknown; {config} has {', '.join(by_name)}.")
        run_config = run_config.model_copy(update={"stages": [by_name[name] for name in stages.split(",")]})
    output.mkdir(parents=True, exist_ok=True)
    saved = output / "config.yaml"
    text = yaml.safe_dump(run_config.model_dump(), allow_unicode=True, sort_keys=False)
    if (output / "last").exists() and saved.exists() and saved.read_text(encoding="utf-8") != text:
        raise typer.BadParameter(f"{output} holds a run with another config; choose another --output.")
    saved.write_text(text, encoding="utf-8")
    try:
        run = Run(run_config, corpus, tokenizer, output, save_every, start)
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error)) from error
    run.train()


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(main)
    app()
