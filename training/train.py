"""Train TweetCap: language without photos, then captions, then tweets; one loop, the stages listed in the config.

    accelerate launch training/train.py --config training/configs/starter.yaml \\
        --corpus CORPUS --tokenizer runs/tokenizer --output runs/starter

The output folder holds `best/` (a checkpoint to use), one folder a finished stage, `samples.html`, a tracker's logs and
what `run_folder.py` lists. Run the same command again after a cut.
"""

import functools
import importlib.util
import itertools
import json
import math
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import typer
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from accelerate.utils import ProjectConfiguration, gather_object, parse_flag_from_env, set_seed
from networks import average_weights, build_model, build_optimizer, imagenet_weights, set_rate
from objectives import (
    CiderReward,
    Verdicts,
    count_tokens,
    counted,
    judged_texts,
    log_likelihoods,
    own_words,
    text_weights,
    to_inputs,
    unusable_texts,
)
from run_config import RunConfig, Stage, choose_stages, read_config, save_config
from run_folder import (
    LAST,
    LEFT_OUT,
    LOSSES,
    PROGRESS,
    STATE,
    Progress,
    add_to_history,
    append_row,
    read_progress,
    replace_folder,
    trim_losses,
)
from samples import Samples
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm
from transformers.utils.logging import disable_progress_bar

from tweetcap.data.animals import concepts
from tweetcap.data.batches import BatchSettings, EpochBatches, StreamedBatches, epoch_batches, load_batches
from tweetcap.data.concepts import concept_words, label_photos, teach_concepts
from tweetcap.data.examples import NO_PHOTO, Corpus, open_corpus
from tweetcap.data.features import FeatureCache, PhotoViews
from tweetcap.data.precision import supports_bfloat16
from tweetcap.data.sights import Sight, find_sights, label_sights, teach_sights
from tweetcap.data.tables import BadRows
from tweetcap.data.verdicts import DRAWN, WRITERS
from tweetcap.model import (
    CAPTION_TONE,
    TweetCapForConditionalGeneration,
    TweetCapImageProcessor,
    TweetCapProcessor,
    TweetCapTokenizer,
    save_checkpoint,
)
from tweetcap.write.filters import SeenTexts
from tweetcap.write.writer import SEEN_TEXTS

STEPS_A_LOG = 20
MOST_BAD_STEPS = 20  # in a row, before a run that skips them ends all the same
LONGEST_WAIT = timedelta(hours=12)  # one process encodes all photos while the others wait


class RunError(ValueError):
    """The run can't go on; the message is one sentence that says why and what to do."""


@torch.no_grad()
def evaluate(
    model: TweetCapForConditionalGeneration,
    corpus: Corpus,
    photos: FeatureCache | PhotoViews | None,
    settings: BatchSettings,
    accelerator: Accelerator,
    bad_rows: BadRows,
    verdicts: Verdicts | None = None,
) -> dict[str, float]:
    """Return validation nats a token (end token counted, tone and register not) by source, `…/null` without photo.

    Of texts with verdicts it is the mean loss of `Verdicts` a text; without them these are left out, as is a source
    without rows. The model is left in evaluation mode.
    """
    model.eval()
    processes = {"process": accelerator.process_index, "processes": accelerator.num_processes}
    totals = {}
    for source, examples in corpus.examples.items():
        if not len(examples) or (source in WRITERS and not verdicts):
            continue
        batches = EpochBatches(
            examples,
            photos,
            settings,
            model.config.num_concepts,
            train=False,
            all_sights=len(model.config.sight_token_ids),
        )
        sums = torch.zeros(2, 2, dtype=torch.float64, device=accelerator.device)  # with photo, null × nats, tokens
        for batch in load_batches(batches, **processes, drop_last=False, bad_rows=bad_rows):
            batch = to_device(batch, accelerator.device)
            labels = counted(batch)
            with accelerator.autocast():
                asked = to_inputs(model, batch)
                for row, outputs in zip(sums, (asked.get("encoder_outputs"), None), strict=True):
                    inputs = asked | {"encoder_outputs": outputs}
                    if source in WRITERS:
                        row += torch.stack([verdicts.losses(model, inputs, batch).sum(), row.new_tensor(len(labels))])
                    else:
                        row[0] -= log_likelihoods(model, inputs, labels).sum()
                        row[1] += (labels != -100).sum()
        sums = accelerator.reduce(sums)
        totals[source], totals[f"{source}/null"] = (sums[:, 0] / sums[:, 1].clamp_min(1)).tolist()
    return totals


def to_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}


class Run:
    """One run in one output folder.

    Args:
        start: checkpoint to begin from; its architecture counts.

    Raises:
        ValueError: corpus, checkpoint, tokenizer and config don't fit together; one sentence.
    """

    def __init__(
        self,
        config: RunConfig,
        corpora: list[str],
        tokenizer: Path,
        output: Path,
        save_every: int,
        start: Path | None,
        tracker: str,
    ):
        bf16 = config.mixed_precision == "bf16" or (
            config.mixed_precision == "auto" and supports_bfloat16(PartialState().device)
        )
        self.accelerator = Accelerator(
            mixed_precision="bf16" if bf16 else "no",
            gradient_accumulation_steps=config.batches_per_step // PartialState().num_processes,
            log_with=None if tracker == "none" else tracker,
            project_config=ProjectConfiguration(project_dir=output, logging_dir=output),
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
        self.accumulate = self.accelerator.gradient_accumulation_steps
        set_seed(config.seed)
        if self.accelerator.device.type == "cuda":
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True, warn_only=True)
        self.config, self.output, self.save_every, self.tracker = config, output, save_every, tracker
        if not (tokenizer / "vocab.json").is_file():
            raise ValueError(f"--tokenizer {tokenizer} holds no vocab.json; give a folder of train_tokenizer.py.")
        size = {"height": config.image_size, "width": config.image_size}
        self.processor = TweetCapProcessor(
            TweetCapImageProcessor(size=size), TweetCapTokenizer.from_pretrained(tokenizer)
        )
        self.settings = BatchSettings(**config.batches)
        self.bad_rows = BadRows(config.bad_rows, path=output / LEFT_OUT)
        self.corpora = {
            split: open_corpus(
                corpora,
                split,
                self.processor.tokenizer,
                list(dict.fromkeys(source for stage in config.stages for source in getattr(stage, names))),
                streaming=config.streaming,
                limit=limit,
                bad_rows=self.bad_rows,
                verdicts=config.verdicts,
            )
            for split, names, limit in (
                ("train", "sources", None),
                ("validation", "choose_by", config.validation_rows),
            )
        }
        if self.accelerator.is_main_process:
            for sentence in self.corpora["train"].missing:
                tqdm.write(sentence)
        # Concepts are those of the first corpus that says which animal a photo shows.
        labelled = self.corpora["train"].starter_folders[:1]
        self.concepts = {}
        if config.encoder_weights and config.model.get("decoder_type") != "photo_first":  # that one offers none
            self.concepts = concept_words(labelled[0]) if labelled else concepts()
        self.sights: list[Sight] = []
        if config.model.get("num_sights") and labelled:
            self.sights = find_sights(labelled[0], self.processor.tokenizer)
        for stage in config.stages:
            if not any(len(self.corpora["validation"].examples[source]) for source in stage.choose_by):
                raise ValueError(
                    f"No corpus has validation rows of {', '.join(stage.choose_by)}, by which stage {stage.name} "
                    "chooses its best epoch; give such a --corpus or another choose_by."
                )
        if start:
            if not (start / "config.json").is_file():
                raise ValueError(f"--start {start} holds no checkpoint; give a folder such as RUN/best.")
            self.model = TweetCapForConditionalGeneration.from_pretrained(start)
        else:
            self.model = build_model(config, self.concepts, self.sights, self.processor.tokenizer)
        if self.model.config.vocab_size != len(self.processor.tokenizer):
            raise ValueError(
                f"{start} has {self.model.config.vocab_size} tokens, {tokenizer} {len(self.processor.tokenizer)}; "
                "give the checkpoint as --tokenizer too."
            )
        if self.model.config.sight_token_ids != [list(sight.token_ids) for sight in self.sights]:
            self.sights = []  # a checkpoint's own, of another corpus: they stay as they were taught
        if start and TweetCapTokenizer.from_pretrained(start).get_vocab() != self.processor.tokenizer.get_vocab():
            raise ValueError(f"{start} has other tokens than {tokenizer}; give the checkpoint as --tokenizer too.")
        self.model.encoder.to(memory_format=torch.channels_last)
        start_seen = start / SEEN_TEXTS if start else None
        self.start_seen = SeenTexts.load(start_seen) if start_seen and start_seen.is_file() else None
        self.samples = None
        if self.accelerator.is_main_process:
            photos = self.corpora["validation"].photos
            self.samples = Samples(output, photos, self.processor, config.sample_photos)
        self.verdicts: Verdicts | None = None
        self.progress = Progress()

    def photos_of(self, split: str, stage: Stage) -> FeatureCache | PhotoViews | None:
        """Return what a stage reads photos from; a frozen encoder reads each view of each photo once, and is taught."""
        corpus = self.corpora[split]
        streams = split == "train" and corpus.streams
        if (not corpus.photos and not streams) or (split == "train" and not stage.photos):
            return None
        views = PhotoViews(corpus.photos, self.processor.image_processor, self.config.seed)
        if stage.encoder_learning_rate > 0 or streams:
            return views
        count = self.config.views if split == "train" else 1
        with self.accelerator.main_process_first():
            cache = FeatureCache.build(
                self.model,
                views,
                count,
                self.output.parent / "features",
                workers=self.config.workers,
                bad_rows=self.bad_rows,
            )
        if split == "train" and self.model.config.num_concepts and self.concepts and corpus.starter_folders:
            _, classifier = imagenet_weights(self.config)
            labels = label_photos(corpus.starter_folders[0], corpus.photos, list(self.concepts))
            cache.concepts = teach_concepts(self.model.encoder, classifier, cache.pooled, labels, self.config.seed)
        if split == "train" and self.model.config.num_sights and self.sights and corpus.starter_folders:
            labels = label_sights(corpus.starter_folders[0], corpus.photos, [sight.lemma for sight in self.sights])
            cache.sights = teach_sights(self.model.encoder, cache.pooled, labels, self.config.seed)
        return cache

    def train(self) -> None:
        with self.accelerator.main_process_first():
            saved = read_progress(self.output)
        if len({json.dumps(each) for each in gather_object([saved])}) > 1:
            raise RunError(f"{self.output} is not the same folder on all machines; put it on a shared file system.")
        if saved:
            self.progress.load_state_dict(saved)
        self.model.to(self.accelerator.device)
        if self.accelerator.is_main_process:
            trim_losses(self.output, self.progress.all_steps)
        self.start_tracker()
        resume_from = self.output / LAST if saved else None
        if self.is_finished() and self.accelerator.is_main_process:
            # Nothing is trained, although the corpus may have changed: forgetting a post takes a new run.
            tqdm.write(f"{self.output} holds a finished run; give another --output to train anew.")
        while self.progress.stage < len(self.config.stages):
            self.train_stage(self.config.stages[self.progress.stage], resume_from)
            resume_from = None
            self.progress.next_stage()
        self.accelerator.end_training()

    def is_finished(self) -> bool:
        progress, stage = self.progress, self.config.stages[self.progress.stage]
        last = progress.stage == len(self.config.stages) - 1
        return last and (progress.epoch >= stage.epochs or progress.bad_epochs >= stage.patience)

    def start_tracker(self) -> None:
        # TensorBoard's project is a folder in the output; it hides what a cut run logged behind its last save.
        project = "tensorboard" if self.tracker == "tensorboard" else "tweetcap"
        options = {
            "tensorboard": {"purge_step": self.progress.all_steps},
            "trackio": {"name": self.output.name},
            "wandb": {"name": self.output.name, "dir": str(self.output)},
        }
        config = None if self.tracker == "tensorboard" else self.config.model_dump()
        self.accelerator.init_trackers(project, config, init_kwargs=options)

    def train_stage(self, stage: Stage, resume_from: Path | None) -> None:
        accelerator, progress, plain = self.accelerator, self.progress, self.model
        plain.config.dropout = stage.dropout
        judged = not set(WRITERS).isdisjoint(stage.sources)
        self.verdicts = Verdicts(plain, stage.verdict_sharpness, stage.verdict_strength) if judged else None
        optimizer = build_optimizer(plain, stage)
        average = average_weights(plain, stage.ema) if stage.ema else None
        steps = self.steps_an_epoch(stage)
        total = stage.epochs * steps
        warmup = max(1, round(stage.warmup * total))
        model, optimizer = accelerator.prepare(plain, optimizer)
        if resume_from:
            self.load_state(resume_from, optimizer, average)
        photos = self.photos_of("train", stage)  # only now: an earlier stage may have thawed the encoder
        validation_photos = self.photos_of("validation", stage)
        if average:
            # Concepts and sights may have been taught just now, behind the average's back.
            for name in ("class_head", "sight_head"):
                if hasattr(plain.encoder, name):
                    getattr(average.module.encoder, name).load_state_dict(getattr(plain.encoder, name).state_dict())
        reward = self.reward(stage)
        to_training(plain)
        skipped = 0
        while progress.epoch < stage.epochs and progress.bad_epochs < stage.patience:
            bar = tqdm(
                desc=f"{stage.name} {progress.epoch + 1}/{stage.epochs}",
                initial=progress.epoch_step,
                total=steps,
                unit="step",
                disable=not accelerator.is_main_process,
            )
            watch = Stopwatch()
            for group in self.steps(self.batches(stage, progress.epoch, photos), watch):
                weights = [text_weights(batch, stage.weight_power) for batch in group]
                tokens = self.mean_tokens(group, weights)
                factor = set_rate(optimizer, progress.step, warmup, total, stage.schedule)
                own = stage.scheduled_sampling * progress.step / total
                loss = torch.zeros((), dtype=torch.float64, device=accelerator.device)
                for place, (batch, weight) in enumerate(zip(group, weights, strict=True)):
                    self.seed_batch(place)
                    with accelerator.accumulate(model):
                        inputs = self.inputs(stage, batch, weight, own, reward)
                        with accelerator.autocast():
                            part = model(
                                **inputs, label_smoothing=stage.label_smoothing, num_items_in_batch=tokens
                            ).loss
                        accelerator.backward(part)
                    loss += part.detach()
                norm = accelerator.clip_grad_norm_(model.parameters(), stage.clip).item()
                loss = accelerator.reduce(loss).item() / self.config.batches_per_step
                if math.isfinite(loss) and math.isfinite(norm):
                    skipped = 0
                    optimizer.step()
                    if average:
                        average.update_parameters(plain)
                else:
                    skipped += 1
                    self.on_nan(stage, group, loss, norm, skipped)
                optimizer.zero_grad()
                progress.count_step()
                self.log_step(stage, {"loss": loss, "norm": norm, "rate": factor}, watch, bar)
                if self.save_every and progress.epoch_step % self.save_every == 0:
                    self.save_state(optimizer, average)
            bar.close()
            progress.epoch += 1
            progress.epoch_step = 0
            self.validate(stage, average.module if average else plain, validation_photos)
            to_training(plain)
            self.save_state(optimizer, average)
        best = self.output / stage.name
        if best.exists():
            plain.load_state_dict(TweetCapForConditionalGeneration.from_pretrained(best).state_dict())
        # The next stage prepares an optimiser of its own, and the model without this one's wrapper.
        accelerator.unwrap_model(model, keep_fp32_wrapper=False)
        accelerator.free_memory()

    # --- Batches ----------------------------------------------------------------------------------

    def batches(self, stage: Stage, epoch: int, photos) -> EpochBatches | StreamedBatches:
        return epoch_batches(
            self.corpora["train"],
            stage.sources,
            photos,
            replace(self.settings, swapped_concept=stage.swapped_concept),
            self.model.config.num_concepts,
            self.config.seed + 1000 * self.progress.stage,
            epoch,
            concept_words=self.model.config.concept_token_ids,
            all_sights=len(self.model.config.sight_token_ids),
        )

    def steps_an_epoch(self, stage: Stage) -> int:
        expected = self.batches(stage, 0, None).expected
        if expected is None:
            raise RunError(
                f"Stage {stage.name} streams a corpus whose card has no number of rows, and no rate can be planned; "
                "add num_examples to the card's splits or set streaming to false."
            )
        steps = expected // self.config.batches_per_step
        if not steps:
            raise RunError(f"Stage {stage.name} has too few texts for one step; lower batch_size or batches_per_step.")
        return steps

    def steps(self, batches: EpochBatches | StreamedBatches, watch: "Stopwatch") -> Iterator[list[dict[str, Any]]]:
        """Yield this process's batches of each step, from where the epoch was left."""
        accelerator = self.accelerator
        loader = load_batches(
            batches,
            process=accelerator.process_index,
            processes=accelerator.num_processes,
            accumulate=self.accumulate,
            done=self.progress.epoch_step * self.accumulate,
            workers=self.config.workers,
            bad_rows=self.bad_rows,
        )
        loader = iter(loader)
        while True:
            with watch.waiting():
                group = [to_device(batch, accelerator.device) for batch in itertools.islice(loader, self.accumulate)]
            if not group:
                return
            watch.texts += sum(len(batch["labels"]) for batch in group) * accelerator.num_processes
            yield group

    def mean_tokens(self, group: list[dict[str, Any]], weights: list[torch.Tensor]) -> torch.Tensor:
        """Return what a batch's summed loss is divided by.

        That is the step's weighted tokens a batch, over all processes: accelerate and DDP take the mean over batches,
        and so a token counts alike in a long batch and in a short one.
        """
        tokens = sum(map(count_tokens, group, weights))
        tokens = torch.tensor(tokens, dtype=torch.float64, device=self.accelerator.device)
        return self.accelerator.reduce(tokens).clamp_min(1) / self.config.batches_per_step

    def seed_batch(self, place: int) -> None:
        """Seed dropout and drawing for one batch: they depend on the batch alone, not on processes and cuts."""
        progress, accelerator = self.progress, self.accelerator
        number = (progress.epoch_step * self.accumulate + place) * accelerator.num_processes + accelerator.process_index
        key = np.random.SeedSequence((self.config.seed, progress.stage, progress.epoch, number))
        torch.manual_seed(int(key.generate_state(1, np.uint64)[0]))

    def inputs(
        self, stage: Stage, batch: dict[str, Any], weight: torch.Tensor, own: float, reward: CiderReward | None
    ) -> dict[str, Any]:
        # Each in an autocast of its own: weights that were cast where no gradient is taken would be cast for good.
        autocast = self.accelerator.autocast
        with autocast():
            inputs = to_inputs(self.model, batch) | {"weights": weight}
        if own:
            with autocast():
                inputs = own_words(self.model, inputs, batch, own)
        if self.verdicts:
            with autocast():
                inputs = self.verdicts(self.model, inputs, batch)
        if reward:
            settings = (stage.self_critical, reward, self.processor.tokenizer, self.settings.max_length)
            with autocast():
                inputs = judged_texts(self.model, inputs, batch, *settings)
        return inputs

    def reward(self, stage: Stage) -> CiderReward | None:
        """Return how texts of the stage's photos are judged: by all captions of the same photo in training."""
        if not stage.self_critical:
            return None
        corpus = self.corpora["train"]
        if corpus.streams:
            raise RunError(f"Stage {stage.name} is self_critical and needs all captions of a photo; don't stream them.")
        tone = self.processor.tokenizer.prompt_ids(CAPTION_TONE)[1]
        references: defaultdict[int, list[str]] = defaultdict(list)
        for examples in corpus.examples.values():
            for example in examples:
                if example.photo != NO_PHOTO and example.label_ids[0] == tone:
                    references[example.photo].append(example.text)
        try:
            return CiderReward(references)
        except ImportError as error:
            raise RunError(f"self_critical needs {error.name}; pip install pycocoevalcap.") from error

    # --- After a step, after an epoch ---------------------------------------------------------------

    def on_nan(self, stage: Stage, group: list[dict[str, Any]], loss: float, norm: float, skipped: int) -> None:
        """Name the texts behind a step that isn't a number, and end the run where it shall or must end.

        Every process knows of the step, since loss and gradient are those of all, so that all go on or none does.
        """
        progress, found = self.progress, []
        for batch in group:
            with self.accelerator.autocast():
                rows = unusable_texts(self.model, to_inputs(self.model, batch))
            found += [batch["names"][row] for row in rows]
        found = list(dict.fromkeys(gather_object(found)))
        where = f"step {progress.epoch_step + 1} of epoch {progress.epoch + 1} of stage {stage.name}"
        what = f"loss {loss:.4g}, gradient {norm:.4g}"
        if self.accelerator.is_main_process:
            for name in found:
                append_row(self.output / LEFT_OUT, {"name": name, "reason": f"loss is no number in {where}"})
        named = f" because of {'; '.join(found[:3])}{f' and {len(found) - 3} more' * (len(found) > 3)}" if found else ""
        sentence = f"{where} is no number ({what}){named}"
        if self.config.on_nan == "stop" or skipped == MOST_BAD_STEPS:
            raise RunError(f"{sentence}; mend the data, lower learning_rate, or set on_nan to skip and start anew.")
        if self.accelerator.is_main_process:
            tqdm.write(f"{sentence}; left out.")

    def log_step(self, stage: Stage, figures: dict[str, float], watch: "Stopwatch", bar: tqdm) -> None:
        progress = self.progress
        bar.update()
        if self.accelerator.is_main_process:
            where = {"stage": stage.name, "epoch": progress.epoch, "step": progress.step}
            numbers = {name: value if math.isfinite(value) else None for name, value in figures.items()}
            append_row(self.output / LOSSES, where | numbers)
        if progress.all_steps % STEPS_A_LOG == 0:
            figures = figures | watch.figures()
            self.accelerator.log({f"{stage.name}/{name}": value for name, value in figures.items()}, progress.all_steps)
            bar.set_postfix_str(" ".join(f"{name} {value:.3g}" for name, value in figures.items()))

    def validate(self, stage: Stage, model: TweetCapForConditionalGeneration, photos) -> None:
        """Measure, log, and keep the weights if they are the best of this stage."""
        progress = self.progress
        figures = evaluate(
            model, self.corpora["validation"], photos, self.settings, self.accelerator, self.bad_rows, self.verdicts
        )
        suffix = "" if stage.photos else "/null"
        score = float(np.mean([figures[source + suffix] for source in stage.choose_by if source in figures]))
        better = score < progress.best
        progress.best, progress.bad_epochs = (score, 0) if better else (progress.best, progress.bad_epochs + 1)
        self.accelerator.log({f"validation/{name}": value for name, value in figures.items()}, progress.all_steps)
        if not self.accelerator.is_main_process:
            return
        row = {"stage": stage.name, "epoch": progress.epoch, "step": progress.step, "score": score, **figures}
        tqdm.write(
            " ".join(f"{name} {value:.3f}" if isinstance(value, float) else str(value) for name, value in row.items())
        )
        add_to_history(self.output, row)
        self.samples.write(model, stage.name, progress.epoch, progress.all_steps, null=not stage.photos)
        if better:

            def write(folder: Path) -> None:
                save_checkpoint(model, self.processor, folder)
                self.seen_texts.save(folder / SEEN_TEXTS)

            for name in (stage.name, "best"):
                replace_folder(self.output / name, write)

    @functools.cached_property
    def seen_texts(self) -> SeenTexts:
        """What the writer may not repeat: every text of the training split, captions too, and what the start may not.

        Texts that a network drew are its own. Of a streamed corpus the texts are read once for it, without the photos.
        """
        corpus = self.corpora["train"]
        held = (example.text for source, examples in corpus.examples.items() if source != DRAWN for example in examples)
        sources = list(corpus.examples)
        streamed = (
            text.text
            for table in corpus.streams
            for row, _ in table.stream(None, 0, with_photos=False)
            for text in table.texts(row, sources, self.bad_rows)
        )
        seen = SeenTexts.from_texts(itertools.chain(held, streamed))
        return seen | self.start_seen if self.start_seen else seen

    def save_state(self, optimizer, average: AveragedModel | None) -> None:
        """Write `last/`; the old one stays until the new one is whole."""
        # There are no random states to save: each batch is seeded.
        if self.accelerator.is_main_process:
            state = {"model": self.model.state_dict(), "optimizer": optimizer.state_dict()}
            if average:
                state["average"] = average.state_dict()
            if self.verdicts:
                state["first"] = self.verdicts.first.state_dict()

            def write(folder: Path) -> None:
                folder.mkdir()
                torch.save(state, folder / STATE)
                (folder / PROGRESS).write_text(json.dumps(self.progress.state_dict()), encoding="utf-8")

            replace_folder(self.output / LAST, write)
        self.accelerator.wait_for_everyone()

    def load_state(self, folder: Path, optimizer, average: AveragedModel | None) -> None:
        state = torch.load(folder / STATE, map_location="cpu", weights_only=True)
        self.model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        if average:
            average.load_state_dict(state["average"])
        if self.verdicts:
            self.verdicts.first.load_state_dict(state["first"])


class Stopwatch:
    """What a run's time goes into, since the last time it was asked."""

    def __init__(self):
        self._reset()

    def _reset(self) -> None:
        self.texts, self._waited, self._begun = 0, 0.0, time.perf_counter()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self._waited += time.perf_counter() - begun

    def figures(self) -> dict[str, float]:
        """Return texts a second of all processes, and the share of the time in which this one waited for data."""
        passed = time.perf_counter() - self._begun
        figures = {"texts/s": self.texts / passed, "waiting": self._waited / passed}
        self._reset()
        return figures


def to_training(model: TweetCapForConditionalGeneration) -> None:
    model.train()
    model.encoder.eval()  # thawed or not, batch statistics stay ImageNet's: ours are too few to replace them


def main(
    config: Annotated[Path, typer.Option(help="YAML file under training/configs.")],
    corpus: Annotated[list[str], typer.Option(help="Starter folder, folder of Parquet or ORG/NAME; repeatable.")],
    tokenizer: Annotated[Path, typer.Option(help="Folder made by train_tokenizer.py, or a checkpoint.")],
    output: Annotated[Path, typer.Option(help="Run folder; an unfinished run in it goes on.")],
    start: Annotated[Path | None, typer.Option(help="Checkpoint to start from; its architecture counts.")] = None,
    stages: Annotated[str | None, typer.Option(help="Run only these stages: captions,tweets.")] = None,
    override: Annotated[list[str], typer.Option(help="dotted.path=value, e.g. stages.0.epochs=1.")] = [],  # noqa: B006
    save_every: Annotated[int, typer.Option(help="Steps between saves within an epoch; 0: only after epochs.")] = 500,
    tracker: Annotated[Literal["tensorboard", "trackio", "wandb", "none"], typer.Option(help="Where curves go.")] = (
        "tensorboard"
    ),
) -> None:
    """Train, or go on with a run that was cut."""
    run_config = choose_stages(read_config(config, override), stages)
    # Unless told that there is nothing but a CPU, accelerate would take each of several processes for the only one.
    on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    state = PartialState(cpu=on_cpu, timeout=LONGEST_WAIT)
    processes = state.num_processes
    wanted = run_config.batches_per_step or processes
    if wanted % processes:
        raise typer.BadParameter(
            f"batches_per_step {wanted} can't be shared by {processes} processes; give a multiple, such as "
            f"--override batches_per_step={processes * -(-wanted // processes)}."
        )
    run_config = run_config.model_copy(update={"batches_per_step": wanted})
    if tracker != "none" and not importlib.util.find_spec(tracker):
        raise typer.BadParameter(f"--tracker {tracker} is not installed; pip install {tracker}, or choose none.")
    if state.is_main_process:
        save_config(run_config, output)
    state.wait_for_everyone()
    disable_progress_bar()  # of transformers, which shows one for each checkpoint
    try:
        Run(run_config, corpus, tokenizer, output, save_every, start, tracker).train()
    except (ValueError, OSError) as error:
        raise typer.BadParameter(" ".join(str(error).split())) from error


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(main)
    app()
