"""Where the time of eight tweets goes, what 1, 8 and 32 tweets take, and how near that is to what the machine allows.

The stages are timed inside whole calls, so that they add up to what a user waits for.
"""

import functools
import importlib
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import torch

from benchmarks.material import lions, reference_kernel
from benchmarks.results import BenchmarkError, Figure, Plan, Section
from benchmarks.timing import alternate, median, ratio
from tweetcap import TweetWriter
from tweetcap.write.engines import PackedLinear

# Where the writer's parts are called from. `draw` gives a sketch after each word, and its time is that of the words.
PARTS = {
    "read the JPEG": "tweetcap.write.writer:load_photo",
    "resize": "tweetcap.model.image_processing_tweetcap:TweetCapImageProcessor.__call__",
    "encode": "tweetcap.model.modeling_tweetcap:TweetCapEncoder.forward",
    "draw": "tweetcap.write.writer:sketch",
    "filters": "tweetcap.write.writer:reason_to_drop",
    "rank": "tweetcap.write.writer:choose",
}
COUNTS = (1, 8, 32)
PHOTOS = 64  # different ones, far more than any cache of the writer holds
ALLOWANCE = 1.5  # times what encoder and memory alone would take
# Read once a photo, or by single rows, and not whole at each word.
NOT_EACH_WORD = ("region_", "pooled_", "key_value", "concept_", "confidence_", "sight_", "null_")
BANDWIDTH_BYTES = 2**28  # far larger than any cache
MATRIX = 1024
BEST_OF = 12
STREAMS = 2  # with the photo and without


def measure(plan: Plan, rounds: Callable[[Iterable[int]], Iterable[int]]) -> Section:
    """Args: rounds: shows how far a sequence has been gone through."""
    writer, photos = TweetWriter.from_pretrained(), lions(PHOTOS)

    def job(place: int, write: Callable[[bytes, int], object]) -> Callable[[int], object]:
        # Each job is at another photo, or a cache of the writer would have what the one before it encoded.
        return lambda number: write(photos[(number + place * PHOTOS // 4) % PHOTOS], number)

    def tweets(count: int) -> Callable[[bytes, int], object]:
        return lambda photo, seed: writer.write(photo, count=count, seed=seed)

    one, eight, many = (job(place, tweets(count)) for place, count in enumerate(COUNTS))
    splits = take_apart(eight, writer.model.device, rounds(range(1, plan.rounds + 1)))
    jobs = {
        "1 tweet": one,
        "8 tweets": eight,
        "32 tweets": many,
        "the plain description": job(3, lambda photo, _: writer.describe(photo)),
        "reference": lambda number: reference_kernel(),
    }
    seconds = alternate(jobs, rounds(range(1, plan.rounds + 1)))
    reference = seconds.pop("reference")
    section = Section(of_parts(splits))
    for name, times in seconds.items():
        section.figures.append(Figure.of(f"JPEG bytes to {name}", median(times), "ms", 1e3))
        section.ratios[f"{name} ÷ reference kernel"] = ratio(times, reference)
    section.figures += of_limit(writer, splits, seconds["8 tweets"])
    return section


def of_parts(splits: list["Split"]) -> list[Figure]:
    """Return what each part of a call takes."""
    a_step = median([split.seconds["draw"] / split.steps for split in splits])
    return [
        *(
            Figure.of(name, median([split.seconds[name] for split in splits]), "ms", 1e3)
            for name in (*PARTS, "everything else")
        ),
        Figure("steps of drawing, mean", statistics.mean(split.steps for split in splits), ""),
        Figure.of("one step: a word of each candidate", a_step, "ms", 1e3),
    ]


def of_limit(writer: TweetWriter, splits: list["Split"], whole: list[float]) -> list[Figure]:
    """Return what encoder and memory alone would take, what the multiplications would, and how far off calls are."""
    device = writer.model.device
    product = PackedLinear(torch.ones(MATRIX, MATRIX, device=device), None, limit=1.0)  # as the decoder's
    weights = weights_a_step(writer.model.decoder, writer.model.lm_head)
    size = weights * (1 if product.quantised else torch.float32.itemsize)
    encode = statistics.median(split.seconds["encode"] for split in splits)
    reading = statistics.mean(split.steps for split in splits) * size / bandwidth(device)
    words = STREAMS * statistics.mean(split.words for split in splits)
    inputs = torch.ones(MATRIX, MATRIX, device=device)
    multiplying = words * weights / best_rate(lambda: product(inputs), MATRIX**3, device)
    limit = ALLOWANCE * (encode + reading)
    return [
        Figure(f"reading the decoder's weights ({size / 1e6:.1f} MB) at each step", reading * 1e3, "ms"),
        Figure(f"multiplying them with {words:,.0f} words, of all candidates", multiplying * 1e3, "ms"),
        Figure(f"limit: {ALLOWANCE} × (encode + reading)", limit * 1e3, "ms"),
        Figure.of("8 tweets ÷ limit", median([seconds / limit for seconds in whole]), "×"),
    ]


def weights_a_step(decoder: torch.nn.Module, lm_head: torch.nn.Module) -> int:
    """Return how many weights are read for each word; the output's are the words' own, and are counted once."""
    parameters = {
        parameter
        for name, parameter in decoder.named_parameters()
        if not name.startswith(NOT_EACH_WORD) and not name.startswith("embed_tokens")
    }
    return sum(parameter.numel() for parameter in parameters | set(lm_head.parameters()))


def bandwidth(device: torch.device) -> float:
    """Return bytes a second that all threads together move at best, reading alone or copying."""
    source = torch.ones(BANDWIDTH_BYTES // 4, device=device)
    target = torch.empty_like(source)
    return max(
        best_rate(source.sum, BANDWIDTH_BYTES, device),
        best_rate(lambda: target.copy_(source), 2 * BANDWIDTH_BYTES, device),
    )


def best_rate(job: Callable[[], object], amount: float, device: torch.device) -> float:
    """Return the most of `amount` that a job gets done in a second."""
    best = 0.0
    for _ in range(BEST_OF):
        settle(device)
        begun = time.perf_counter()
        job()
        settle(device)
        best = max(best, amount / (time.perf_counter() - begun))
    return best


def settle(device: torch.device) -> None:
    """Wait until an accelerator has done what it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


# --- Inside a call ------------------------------------------------------------------------------


class Split:
    """One call: seconds by part, `everything else` included, steps of drawing, and words drawn in all candidates."""

    def __init__(self):
        self.seconds: dict[str, float] = defaultdict(float)
        self.steps = self.words = 0


class Parts:
    """Adds up what the wrapped functions take; a part inside another one counts for both."""

    def __init__(self, device: torch.device):
        self.device = device
        self.split = Split()

    def of_call(self, job: Callable[[int], object], number: int) -> Split:
        self.split = Split()
        begun = time.perf_counter()
        job(number)
        whole = time.perf_counter() - begun
        self.split.seconds["everything else"] = whole - sum(self.split.seconds.values())
        return self.split

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        settle(self.device)
        begun = time.perf_counter()
        yield
        settle(self.device)
        self.split.seconds[name] += time.perf_counter() - begun

    def wrap(self, name: str, function: Callable) -> Callable:
        @functools.wraps(function)
        def timed(*args, **kwargs):
            with self.time(name):
                return function(*args, **kwargs)

        return timed

    def wrap_drawing(self, name: str, function: Callable) -> Callable:
        @functools.wraps(function)
        def timed(*args, **kwargs):
            drawing = function(*args, **kwargs)
            while True:
                with self.time(name):
                    try:
                        sketch = next(drawing)
                    except StopIteration as end:
                        self.split.words += sum(candidate.tokens for candidate in end.value)
                        return end.value
                self.split.steps += 1
                yield sketch

        return timed


def take_apart(job: Callable[[int], object], device: torch.device, rounds: Iterable[int]) -> list[Split]:
    """Return each round's call split into its parts; a call before them warms up.

    Raises:
        BenchmarkError: a part was never called.
    """
    job(0)
    with timed_parts(device) as parts:
        splits = [parts.of_call(job, number) for number in rounds]
    unused = [name for name in PARTS if not splits[0].seconds[name]]
    if unused:
        raise BenchmarkError(f"the writer no longer calls {PARTS[unused[0]]} ({unused[0]}); correct stages.PARTS.")
    return splits


@contextmanager
def timed_parts(device: torch.device) -> Iterator[Parts]:
    """Time the writer's parts as long as this lasts."""
    parts = Parts(device)
    with ExitStack() as patches:
        for name, place in PARTS.items():
            module, _, path = place.partition(":")
            *owners, attribute = path.split(".")
            owner = functools.reduce(getattr, owners, importlib.import_module(module))
            wrap = parts.wrap_drawing if name == "draw" else parts.wrap
            patches.enter_context(mock.patch.object(owner, attribute, wrap(name, getattr(owner, attribute))))
        yield parts
