"""The same photo by others: the networks that people caption with, and the predecessor of 2021.

Their weights are random, since only time is asked for, and so every text runs to its 20 tokens. They are built and
called as their model cards do, in float32; turning ids into words is left out, in their favour.
"""

import io
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from PIL import Image
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    CLIPImageProcessor,
    GenerationMixin,
    GitConfig,
    GitForCausalLM,
    GPT2Config,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTImageProcessor,
)

from benchmarks.material import lions
from benchmarks.results import Figure, Plan, Section
from benchmarks.timing import alternate, median, ratio
from tests.predecessor import original
from tweetcap import TweetWriter

TOKENS = 20
SAMPLES = 8
PHOTOS = 64
GREEDY, SAMPLED = "1 greedy text", f"{SAMPLES} sampled texts"
OURS = "tweetcap"
PREDECESSOR = "predecessor of 2021"
PREDECESSOR_WORDS = 10_000  # STAIR Captions' words that occur a few times


@dataclass(frozen=True)
class Peer:
    """A captioning network of transformers and how photos are prepared for it."""

    model: GenerationMixin
    prepare: Callable[..., dict[str, torch.Tensor]]

    @torch.inference_mode()
    def write(self, photo: bytes, samples: int, tokens: int = TOKENS) -> torch.Tensor:
        """Return (samples, length) token ids; one text is greedy."""
        pixel_values = self.prepare(read(photo), return_tensors="pt")["pixel_values"]
        return self.model.generate(
            pixel_values=pixel_values.to(self.model.device, self.model.dtype),
            do_sample=samples > 1,
            num_return_sequences=samples,
            max_new_tokens=tokens,
            min_new_tokens=tokens,
        )


def read(photo: bytes) -> Image.Image:
    return Image.open(io.BytesIO(photo)).convert("RGB")


def vit_gpt2() -> Peer:
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(ViTConfig(), GPT2Config())
    config.decoder_start_token_id = config.pad_token_id = config.decoder.eos_token_id
    return Peer(VisionEncoderDecoderModel(config), ViTImageProcessor())


def git_base() -> Peer:
    return Peer(GitForCausalLM(GitConfig()), CLIPImageProcessor())


def blip_base() -> Peer:
    return Peer(BlipForConditionalGeneration(BlipConfig()), BlipImageProcessor())


PEERS = {"ViT-GPT2": vit_gpt2, "GIT-base": git_base, "BLIP-base": blip_base}


def predecessor() -> Callable[[bytes], torch.Tensor]:
    """Return ResNet-152 and an LSTM of 512 after the scripts of 2021, in their loop of 20 words."""
    encoder, decoder = original.build("resnet152", PREDECESSOR_WORDS, embed_size=256, hidden_size=512)

    @torch.inference_mode()
    def write(photo: bytes) -> torch.Tensor:
        return decoder.sample(encoder(original.pixels([read(photo)])), without_unknown=True, words=TOKENS)

    return write


def measure(plan: Plan, rounds: Callable[[Iterable[int]], Iterable[int]]) -> Section:
    section = Section()
    writer = TweetWriter.from_pretrained()
    photos = lions(PHOTOS)

    def on_photos(write: Callable[[bytes], object]) -> Callable[[int], object]:
        return lambda number: write(photos[number % PHOTOS])

    jobs = {
        (OURS, f"{SAMPLES} tweets, ranked and filtered"): lambda number: writer.write(
            photos[number % PHOTOS], count=SAMPLES, seed=number
        ),
        (OURS, "the plain description, greedy"): lambda number: writer.describe(photos[(number + 32) % PHOTOS]),
        (PREDECESSOR, GREEDY): on_photos(predecessor()),
    }
    ours, described, *_ = jobs
    for name, build in PEERS.items():
        peer = build()
        peer.model.eval().to(writer.model.device)
        size = f"{name}, {sum(parameter.numel() for parameter in peer.model.parameters()) / 1e6:.0f} M"
        jobs[size, GREEDY] = on_photos(lambda photo, peer=peer: peer.write(photo, 1))
        jobs[size, SAMPLED] = on_photos(lambda photo, peer=peer: peer.write(photo, SAMPLES))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what random weights lack, such as an attention mask for no prompt
        seconds = alternate(jobs, rounds(range(1, plan.peer_rounds + 1)))
    for job, times in seconds.items():
        section.figures.append(Figure.of(": ".join(job), median(times), "ms", 1e3))
    for job, times in seconds.items():
        if job[0] == OURS:
            continue
        section.figures.append(Figure.of(f"{': '.join(job)} ÷ our {SAMPLES} tweets", ratio(times, seconds[ours]), "×"))
        section.ratios[f"{SAMPLES} tweets ÷ {': '.join(job)}"] = ratio(seconds[ours], times)
    section.ratios[f"description ÷ {PREDECESSOR}"] = ratio(seconds[described], seconds[PREDECESSOR, GREEDY])
    return section
