"""Japanese words in, token ids out, and nothing lost on the way back.

A text is cut into words by MeCab (fugashi, unidic-lite). A word outside the vocabulary is cut into the longest known
pieces, down to single characters; a character outside the vocabulary is written as its UTF-8 bytes. So
`decode(encode(text)) == normalise(text)` for every string.
"""

import json
import re
import unicodedata
from functools import lru_cache
from pathlib import Path

from transformers import PreTrainedTokenizer

CAPTION_TONE = "説明"
TWEET_TONES = ("つぶやき", "ツッコミ", "アフレコ", "ほっこり", "大喜利")
TONES = (CAPTION_TONE, *TWEET_TONES)
REGISTERS = ("plain", "witty")

PAD, BOS, EOS = "<pad>", "<s>", "</s>"
SPECIAL_TOKENS = (
    PAD,
    BOS,
    EOS,
    *(f"<{tone}>" for tone in TONES),
    *(f"<{register}>" for register in REGISTERS),
)
BYTE_TOKENS = tuple(f"<0x{byte:02X}>" for byte in range(256))

LONGEST_PIECE = 12  # characters; longer known words exist only as whole words
MECAB_CHUNK = 1000  # characters; MeCab refuses very long sentences
_FULL_WIDTH = {code: code - 0xFEE0 for code in (*range(0xFF10, 0xFF1A), *range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B))}
_HALF_WIDTH_KANA = re.compile(r"[\uff66-\uff9d][\uff9e\uff9f]?")


def normalise(text: str) -> str:
    """Return the text as the model knows it: NFC, narrow letters and digits, wide kana, `\\n` line ends.

    Full NFKC would tear kaomoji apart (´ becomes a space and a combining accent) and narrow ！ and ？, so only
    letters, digits, half-width kana and the wide space are folded. Lone surrogates, which are no text, become U+FFFD.
    """
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u3000", " ").translate(_FULL_WIDTH)
    text = _HALF_WIDTH_KANA.sub(lambda kana: unicodedata.normalize("NFKC", kana.group()), text)
    return unicodedata.normalize("NFC", text)


@lru_cache(maxsize=1)
def _tagger():
    # A Tagger can't be pickled: kept here, the tokenizer itself travels to other processes.
    import unidic_lite
    from fugashi import GenericTagger

    return GenericTagger(f"-Owakati -r /dev/null -d {unidic_lite.DICDIR}")


def split_words(text: str) -> list[str]:
    """Return the words of a text in order, white space as single characters; joined they are the text."""
    words = []
    for run in re.findall(rf"\s|\S{{1,{MECAB_CHUNK}}}", text):
        surfaces = [run] if len(run) == 1 else _tagger().parse(run).split(" ")
        surfaces = [surface for surface in surfaces if surface]
        # MeCab drops what follows a NUL and some control characters; such a run goes character by character.
        words.extend(surfaces if "".join(surfaces) == run else run)
    return words


class TweetCapTokenizer(PreTrainedTokenizer):
    """Word tokenizer that falls back to characters and bytes.

    `encode` adds no special tokens; `prompt_ids` gives what stands before a text and `eos_token_id` ends it.

    Args:
        vocab_file: JSON list of tokens; a token's place is its id. It begins with `SPECIAL_TOKENS` and `BYTE_TOKENS`.
        registers: whether the network knows registers; if not, prompts leave them out.
    """

    vocab_files_names = {"vocab_file": "vocab.json"}
    model_input_names = ["input_ids", "attention_mask"]

    def __init__(self, vocab_file: str, registers: bool = True, **kwargs):
        self.registers = registers
        self.tokens: list[str] = json.loads(Path(vocab_file).read_text(encoding="utf-8"))
        reserved = [*SPECIAL_TOKENS, *BYTE_TOKENS]
        if self.tokens[: len(reserved)] != reserved:
            raise ValueError(
                f"{vocab_file} does not begin with the special and byte tokens; make it with train_tokenizer.py."
            )
        self.token_ids = {token: index for index, token in enumerate(self.tokens)}
        # Pieces of text only: the literal text "<pad>" must never turn into the padding token.
        self.pieces = frozenset(self.tokens[len(reserved) :])
        # What a saved folder says of these is what stands here; none of it is for users to change.
        fixed = {
            "pad_token": PAD,
            "bos_token": BOS,
            "eos_token": EOS,
            "extra_special_tokens": list(SPECIAL_TOKENS[3:]),
            "split_special_tokens": True,
            "special_tokens_pattern": "none",
            "clean_up_tokenization_spaces": False,
        }
        super().__init__(registers=registers, **(kwargs | fixed))

    @property
    def vocab_size(self) -> int:
        return len(self.tokens)

    @property
    def first_piece_id(self) -> int:
        """Id from which on tokens are pieces of text; below are special tokens and bytes."""
        return len(SPECIAL_TOKENS) + len(BYTE_TOKENS)

    def get_vocab(self) -> dict[str, int]:
        return dict(self.token_ids)

    def prompt_ids(self, tone: str | None = None, register: str | None = None) -> list[int]:
        """Return the ids that stand before a text: begin, tone, register.

        Raises:
            ValueError: for an unknown tone or register.
        """
        if tone is not None and tone not in TONES:
            raise ValueError(f"tone {tone!r} is unknown; choose one of {', '.join(TONES)}.")
        if register is not None and register not in REGISTERS:
            raise ValueError(f"register {register!r} is unknown; choose one of {', '.join(REGISTERS)}.")
        register = register if self.registers else None
        return [self.token_ids[token] for token in (BOS, tone and f"<{tone}>", register and f"<{register}>") if token]

    def _tokenize(self, text: str, **kwargs) -> list[str]:
        return [piece for word in split_words(normalise(text)) for piece in self._pieces_of(word)]

    def _pieces_of(self, word: str) -> list[str]:
        if word in self.pieces:
            return [word]
        pieces, start = [], 0
        while start < len(word):
            for end in range(min(len(word), start + LONGEST_PIECE), start, -1):
                if word[start:end] in self.pieces:
                    pieces.append(word[start:end])
                    break
            else:
                end = start + 1
                pieces.extend(BYTE_TOKENS[byte] for byte in word[start].encode("utf-8"))
            start = end
        return pieces

    def _convert_token_to_id(self, token: str) -> int:
        return self.token_ids[token]

    def _convert_id_to_token(self, index: int) -> str:
        return self.tokens[index]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Join tokens to text; bytes that are not UTF-8 (a model may draw such) become U+FFFD."""
        text = b"".join(
            bytes([BYTE_TOKENS_TO_BYTE[token]]) if token in BYTE_TOKENS_TO_BYTE else token.encode("utf-8")
            for token in tokens
        )
        return text.decode("utf-8", "replace")

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str]:
        name = (f"{filename_prefix}-" if filename_prefix else "") + self.vocab_files_names["vocab_file"]
        path = Path(save_directory) / name
        path.write_text(json.dumps(self.tokens, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
        return (str(path),)


BYTE_TOKENS_TO_BYTE = {token: byte for byte, token in enumerate(BYTE_TOKENS)}

TweetCapTokenizer.register_for_auto_class("AutoTokenizer")
