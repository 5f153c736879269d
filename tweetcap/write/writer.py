"""Photo in, tweets out: `TweetWriter` is what users call.

writer = TweetWriter.from_pretrained()
writer.write("cat.jpg", count=5, temperature=0.9)  # [Tweet(text=…, tone=…, log_likelihood=…, grounding=…), …]
writer.describe("cat.jpg")                          # what is in the photo, in one plain sentence
"""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import torch

from tweetcap.data.hub import CONFIG, WEIGHTS, HubError, check_config, fetch_checkpoint
from tweetcap.data.photo import load_photo
from tweetcap.model import (
    CAPTION_TONE,
    TWEET_TONES,
    TweetCapEncoderOutput,
    TweetCapForConditionalGeneration,
    TweetCapImageProcessor,
    TweetCapProcessor,
    TweetCapTokenizer,
)
from tweetcap.write.animals import AnimalWords, forbid
from tweetcap.write.encoding import FastEncoder
from tweetcap.write.engines import Engine, ModelEngine, PackedEngine
from tweetcap.write.explanation import Explanation, explain
from tweetcap.write.filters import SeenTexts, reason_to_drop
from tweetcap.write.ranking import Contender, choose
from tweetcap.write.sampling import Sketch, draw, finish, sketch
from tweetcap.write.scoring import log_likelihoods
from tweetcap.write.settings import DEFAULTS, RANGES, WriterSettings
from tweetcap.write.sights import SightWords

EMBEDDED = Path(__file__).parents[1] / "checkpoint"
SEEN_TEXTS = "seen_texts.bin"
# What a checkpoint's folder holds for the writer; the network's code is the package's.
CHECKPOINT_FILES = (
    CONFIG,
    "generation_config.json",
    WEIGHTS,
    "processor_config.json",
    SEEN_TEXTS,
    "tokenizer_config.json",
    "vocab.json",
)
LEAST_CANDIDATES, CANDIDATES_A_TWEET = 40, 5
# Witty candidates are twice as long and mostly fall apart; among the chosen, readers found them no funnier.
REGISTER = "plain"
ROUNDS = 3  # how often candidates are drawn again when too few pass the filters
ENCODE_BATCH = 4  # in bfloat16 larger ones take longer a photo
DRAFT_TOKENS = 3  # a text is worth showing from here on


@dataclass(frozen=True)
class Tweet:
    """A text that passed every filter.

    Attributes:
        text: ready to post.
        tone: つぶやき, ツッコミ, アフレコ, ほっこり or 大喜利.
        log_likelihood: mean over tokens of log p(token | photo), in nats; nearer to 0 is more usual.
        grounding: nats by which the photo makes the whole text likelier; above 0 it fits.
        register: plain or witty, which the text was drawn as.
    """

    text: str
    tone: str
    log_likelihood: float
    grounding: float
    register: str


@dataclass(frozen=True)
class Draft:
    """The beginning of a text that is being drawn; it may never become a tweet."""

    text: str
    tone: str


class TweetWriter:
    """A checkpoint with everything that stands between it and a timeline: sampling, filters, ranking.

    Attributes:
        outcomes: what became of all candidates drawn so far: `passed`, `unfinished`, `wrong_animal`, or one of
            DROP_REASONS.
    """

    tones = TWEET_TONES

    def __init__(
        self,
        model: TweetCapForConditionalGeneration,
        processor: TweetCapProcessor,
        seen: SeenTexts | None = None,
        device: str | torch.device | None = None,
    ):
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.model = model.eval().to(device)
        on_cpu = self.model.device.type == "cpu"
        self._encoder = FastEncoder(model.encoder) if on_cpu else model.encoder
        self._packs = on_cpu and model.config.decoder_type == "attention"
        self._engine = PackedEngine(model) if self._packs else ModelEngine(model)
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.seen = seen
        self.outcomes: Counter[str] = Counter()
        self._counting = threading.Lock()  # `tweetcap write` draws for several photos at once
        banned = torch.zeros(model.config.vocab_size, dtype=torch.bool)
        banned[: self.tokenizer.first_piece_id] = True  # tones, registers, bytes: no words of a tweet
        banned[self.tokenizer.eos_token_id] = False
        banned[model.generation_config.suppress_tokens or []] = True
        self._banned = banned.to(self.model.device)
        concepts = [self.tokenizer.decode(ids) for ids in model.config.concept_token_ids]
        self._animals = AnimalWords(self.tokenizer, concepts)
        self.sights = SightWords(model.config)

    @classmethod
    def from_pretrained(
        cls,
        path_or_hub_id: str | Path | None = None,
        *,
        revision: str | None = None,
        token: str | None = None,
        local_files_only: bool = False,
        device: str | None = None,
    ) -> "TweetWriter":
        """Load a checkpoint: the embedded one, a folder, or a repository on the Hub.

        Args:
            path_or_hub_id: a folder, `ORG/NAME`, or `ORG/NAME@REVISION`. What came from the Hub once is kept in its
                cache and serves without a network too; code is never fetched.
            revision: branch, tag or commit on the Hub.
            token: for a private repository; HF_TOKEN or that of `hf auth login` is taken by itself.
            local_files_only: take what the cache has, and don't ask the Hub; as HF_HUB_OFFLINE=1.

        Raises:
            ValueError: in one sentence, where there is no TweetCap checkpoint or the Hub can't give it.
        """
        name = str(path_or_hub_id or EMBEDDED)
        folder, commit = Path(name), None
        if not folder.is_dir():
            options = {"revision": revision, "token": token, "local_files_only": local_files_only}
            folder = fetch_checkpoint(name, CHECKPOINT_FILES, **options)
            commit = folder.name
        try:
            check_config(folder / CONFIG, name)
            # A config may name an attention kernel on the Hub, code that transformers hands to the package `kernels`.
            options = {"attn_implementation": "eager", "ignore_mismatched_sizes": True, "output_loading_info": True}
            model, loaded = TweetCapForConditionalGeneration.from_pretrained(folder, **options)
            # Not TweetCapProcessor.from_pretrained: it takes the classes that the files name, or offers to run theirs.
            processor = TweetCapProcessor(
                TweetCapImageProcessor.from_pretrained(folder), TweetCapTokenizer.from_pretrained(folder)
            )
            seen = SeenTexts.load(folder / SEEN_TEXTS) if (folder / SEEN_TEXTS).exists() else None
        except HubError:
            raise
        except Exception as error:  # a damaged checkpoint raises whatever the libraries run into
            reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")
            raise ValueError(f"{name} holds no TweetCap checkpoint ({reason}); give a folder or a Hub id.") from error
        # As transformers sets them, for those who write down what they used.
        model.config._commit_hash = commit
        if commit:
            model.name_or_path = name.partition("@")[0]
        if loaded["missing_keys"]:
            raise ValueError(
                f"{name} lacks weights ({min(loaded['missing_keys'])}); save or push the checkpoint again."
            )
        if loaded["mismatched_keys"]:
            weights = min(key[0] for key in loaded["mismatched_keys"])
            raise ValueError(f"{name} has weights of other sizes ({weights}) than its {CONFIG} says; save it again.")
        try:
            return cls(model, processor, seen, device)
        except (LookupError, TypeError) as error:
            raise ValueError(f"{name} names tokens that it hasn't ({error}); save it again.") from error

    def write(
        self,
        photo,
        *,
        count: int = DEFAULTS.count,
        tone: str | None = None,
        temperature: float = DEFAULTS.temperature,
        top_p: float = DEFAULTS.top_p,
        guidance: float = DEFAULTS.guidance,
        seed: int | None = None,
        max_length: int = DEFAULTS.max_length,
        avoid: Sequence[str] = (),
    ) -> list[Tweet]:
        """Write up to `count` different tweets about a photo: the best first, then the tones take turns.

        Args:
            photo: path, bytes, PIL image, array or tensor; or what `encode` returned for it.
            tone: one of `tones`; None mixes them.
            temperature: low is safe, high is wild.
            top_p: share of probability that words are drawn from.
            guidance: 0 writes freely, more sticks to the photo.
            seed: the same seed gives the same tweets; None draws afresh each time.
            max_length: longest text in characters.
            avoid: texts of which no near copy is wanted, those shown already for one.

        Returns:
            Fewer tweets than asked for only where too few candidates pass the filters.

        Raises:
            PhotoError: the photo can't be read.
            ValueError: a value is out of its range.
        """
        settings = WriterSettings(count, temperature, top_p, guidance, max_length)
        return list(self._pieces(photo, settings, tone, seed, avoid, drafts=False))

    def stream(
        self,
        photo,
        *,
        count: int = DEFAULTS.count,
        tone: str | None = None,
        temperature: float = DEFAULTS.temperature,
        top_p: float = DEFAULTS.top_p,
        guidance: float = DEFAULTS.guidance,
        seed: int | None = None,
        max_length: int = DEFAULTS.max_length,
        avoid: Sequence[str] = (),
    ) -> Iterator[Draft | Tweet]:
        """Yield how a promising text grows word by word, then the tweets that `write` returns for the same arguments.

        Raises:
            PhotoError, ValueError: as `write`; before anything is yielded.
        """
        settings = WriterSettings(count, temperature, top_p, guidance, max_length)
        yield from self._pieces(photo, settings, tone, seed, avoid, drafts=True)

    def _pieces(
        self,
        photo,
        settings: WriterSettings,
        tone: str | None,
        seed: int | None,
        avoid: Sequence[str],
        *,
        drafts: bool,
    ) -> Iterator[Draft | Tweet]:
        check_settings(tone=tone, tones=self.tones, **asdict(settings))
        count, max_length = settings.count, settings.max_length
        encoded = self._encoded(photo)
        animals, lifts = self._animals.allowed(encoded), self.sights.lifts(encoded)
        generator = torch.Generator(self.model.device)
        generator.manual_seed(seed) if seed is not None else generator.seed()
        options = {
            "banned": forbid(self._banned, self._animals.banned(animals) + self.sights.banned(lifts)),
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "guidance": settings.guidance,
            "generator": generator,
        }
        # Every tone equally often.
        tones = [tone] if tone else list(self.tones)
        tones *= -(-max(count * CANDIDATES_A_TWEET, LEAST_CANDIDATES) // len(tones))
        prompts = [self.tokenizer.prompt_ids(each, REGISTER) for each in tones]
        passed: list[Contender] = []
        chosen: list[Contender] = []
        for _ in range(ROUNDS):
            drawing = sketch(self._engine, encoded, prompts, **options)
            if drafts:
                candidates = yield from self._drafts(drawing, tones, animals, max_length)
            else:
                candidates = finish(drawing)
            for drawn_tone, candidate in zip(tones, candidates, strict=True):
                text = self.tokenizer.decode(candidate.token_ids)
                reason = self._reason_to_drop(text, animals, max_length) if candidate.finished else "unfinished"
                with self._counting:
                    self.outcomes[reason or "passed"] += 1
                if reason is None:
                    sights = self.sights.lift(candidate.token_ids, lifts)
                    passed.append(Contender(text, drawn_tone, candidate, sights))
            chosen = choose(passed, count, avoid)
            if len(chosen) == count:
                break
        for text, drawn_tone, candidate, _ in chosen:
            log_likelihood = candidate.log_likelihood / candidate.tokens
            yield Tweet(text, drawn_tone, log_likelihood, candidate.grounding, REGISTER)

    def _drafts(self, drawing: Iterator[Sketch], tones, animals, max_length: int):
        """Yield the candidate that begins best as it grows; return all of them."""
        leader = None
        while True:
            try:
                now = next(drawing)
            except StopIteration as end:
                return end.value
            if now.token_ids.shape[1] < DRAFT_TOKENS:
                continue
            if leader is None:
                leader = int(now.log_likelihoods[0].masked_fill(now.finished, -torch.inf).argmax())
            if now.finished[leader]:
                continue
            text = self.tokenizer.decode(now.token_ids[leader].tolist())
            # What may not be published is not shown on its way either; brackets may still be open.
            if self._reason_to_drop(text, animals, max_length) in (None, "broken"):
                yield Draft(text, tones[leader])

    def _reason_to_drop(self, text: str, animals: frozenset[str] | None, max_length: int) -> str | None:
        reason = reason_to_drop(text, seen=self.seen, max_length=max_length)
        if reason is None and self._animals.names_another(text, animals):
            return "wrong_animal"
        return reason

    def describe(self, photo) -> str:
        """Return what is in the photo in one plain sentence, always the same for one photo.

        Raises:
            PhotoError: the photo can't be read.
        """
        prompt = self.tokenizer.prompt_ids(CAPTION_TONE)
        encoded = self._encoded(photo)
        (candidate,) = draw(
            self._exact_engine,
            encoded,
            [prompt],
            banned=forbid(self._banned, self._animals.banned(self._animals.allowed(encoded))),
            temperature=0.0,
            top_p=1.0,
            guidance=0.0,
        )
        return self.tokenizer.decode(candidate.token_ids)

    def explain(self, photo, text: str, tone: str, register: str | None = None) -> Explanation:
        """Return, for each word of a text, how likely it was with and without the photo and where the network looked.

        Args:
            tone: of the tweet, or 説明.
            register: of the tweet; None for 説明.

        Raises:
            PhotoError: the photo can't be read.
            ValueError: the tone or the register is unknown.
        """
        prompt = self.tokenizer.prompt_ids(tone, register)
        return explain(self.model, self.tokenizer, self._encoded(photo), text, prompt)

    @cached_property
    def _exact_engine(self) -> Engine:
        """What greedy texts are drawn by, so that they are `generate`'s to the last token."""
        return PackedEngine(self.model, exact=True) if self._packs else self._engine

    def _encoded(self, photo) -> TweetCapEncoderOutput:
        return photo if isinstance(photo, TweetCapEncoderOutput) else self.encode([photo])

    @torch.inference_mode()
    def encode(self, photos: Sequence) -> TweetCapEncoderOutput:
        """Return the encoder's output for photos, one row each.

        Raises:
            PhotoError: one of them can't be read.
        """
        size = self.processor.image_processor.size
        # Twice the size that is wanted: so much that the resizing that follows has the last word on each pixel.
        least_side = 2 * max(size["height"], size["width"])
        parts = []
        for start in range(0, len(photos), ENCODE_BATCH):
            loaded = [load_photo(photo, least_side) for photo in photos[start : start + ENCODE_BATCH]]
            pixel_values = self.processor.image_processor(loaded, return_tensors="pt")["pixel_values"]
            parts.append(self._encoder(pixel_values.to(self.model.device)))
        return TweetCapEncoderOutput(**{name: torch.cat([part[name] for part in parts]) for name in parts[0].keys()})

    def log_likelihoods(
        self,
        texts: Sequence[str],
        tones: Sequence[str],
        encoded: TweetCapEncoderOutput | None,
        rows: Sequence[int] | None = None,
        registers: Sequence[str | None] | None = None,
    ) -> list[float]:
        """Return log p(text, end | tone, register, photo) in nats for each text.

        Args:
            encoded: from `encode`; None scores without a photo.
            rows: for each text the row of its photo in `encoded`; left out, they run in parallel.
            registers: `plain`, `witty` or, for captions, None.
        """
        registers = registers or [None] * len(texts)
        prompts = [self.tokenizer.prompt_ids(tone, register) for tone, register in zip(tones, registers, strict=True)]
        return log_likelihoods(
            self.model, self.tokenizer, list(texts), prompts, encoded, None if rows is None else list(rows)
        )


def check_settings(*, tone: str | None, tones: Sequence[str], **settings: float) -> None:
    """Raise ValueError, in one sentence, for an unknown tone or a value out of its range."""
    if tone is not None and tone not in tones:
        raise ValueError(f"tone {tone!r} is unknown; choose one of {', '.join(tones)}, or leave it out for a mixture.")
    for name, value in settings.items():
        lowest, highest = RANGES[name]
        if not lowest <= value <= highest:
            raise ValueError(f"{name} {value} is out of range; choose a value from {lowest} to {highest}.")
        if isinstance(lowest, int) and not isinstance(value, int):
            raise ValueError(f"{name} {value} is not a whole number; choose one from {lowest} to {highest}.")
