"""Turn the 2021 network into a `tweetcap` checkpoint that writes what it wrote, token for token.

    import_network(find_network(Path("Twitter_Image_Captioning")), Path("predecessor"))
    TweetWriter.from_pretrained("predecessor").describe("cat.jpg")

A ResNet's pooled feature, through a linear layer and batch normalisation, is the first word that an LSTM reads. What
it then writes first is `<start>`, as it was taught to. Here the begin token marks the photo's place, and `<つぶやき>`
is what was `<start>`: for the network's one kind of text. As a prompt every other tone means the same, and registers
mean nothing. Photos are prepared as they were when it wrote, squashed to 224 × 224 pixels by Lanczos' filter.

Likelihoods of texts that others wrote say little: its words were folded (NFKC, lower case) and cut by another
dictionary, and what is not among them it can't spell.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import torch
from transformers import GenerationConfig
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, PILImageResampling

from tweetcap.model import (
    TONES,
    TweetCapConfig,
    TweetCapForConditionalGeneration,
    TweetCapImageProcessor,
    TweetCapProcessor,
    TweetCapTokenizer,
    save_checkpoint,
)
from tweetcap.model.pipeline_tweetcap import DEFAULT_TONE
from tweetcap.model.tokenization_tweetcap import BYTE_TOKENS, EOS, PAD, SPECIAL_TOKENS
from tweetcap.predecessor import project
from tweetcap.predecessor.project import NetworkFiles, Weights
from tweetcap.write.filters import SeenTexts
from tweetcap.write.writer import SEEN_TEXTS

SIDE = 224  # pixels
REGIONS = SIDE // 32  # a side of the ResNet's last feature map
MOST_WORDS = 20  # <start> and <end> among them
# What has a row a word, and what the rows of tokens hold that the network doesn't know. With this bias no softmax gives
# them anything, and unlike infinity it can be added to.
FILLINGS = {"decoder.embed_tokens.weight": 0.0, "lm_head.weight": 0.0, "lm_head.bias": -1e4}
# Kind of block and blocks in each layer → timm's name.
RESNETS = {
    ("basic", 2, 2, 2, 2): "resnet18",
    ("basic", 3, 4, 6, 3): "resnet34",
    ("bottleneck", 3, 4, 6, 3): "resnet50",
    ("bottleneck", 3, 4, 23, 3): "resnet101",
    ("bottleneck", 3, 8, 36, 3): "resnet152",
}
CHANNELS = {"basic": 512, "bottleneck": 2048}
# Beginning of a name here → file and beginning of its name there. A ResNet's parts were numbered by nn.Sequential.
NAMES = {
    "encoder.cnn.conv1.": ("encoder", "resnet.0."),
    "encoder.cnn.bn1.": ("encoder", "resnet.1."),
    "encoder.cnn.layer1.": ("encoder", "resnet.4."),
    "encoder.cnn.layer2.": ("encoder", "resnet.5."),
    "encoder.cnn.layer3.": ("encoder", "resnet.6."),
    "encoder.cnn.layer4.": ("encoder", "resnet.7."),
    "decoder.pooled_proj.": ("encoder", "linear."),
    "decoder.pooled_norm.": ("encoder", "bn."),
    "decoder.embed_tokens.": ("decoder", "embed."),
    "decoder.lstm.": ("decoder", "lstm."),
    "lm_head.": ("decoder", "linear."),
}


def import_network(files: NetworkFiles, output: Path, seen_texts: Iterable[str] = ()) -> TweetCapConfig:
    """Write the checkpoint, all at once, and return its configuration.

    Args:
        output: a folder that isn't there yet.
        seen_texts: what it was trained on; the checkpoint gets their hashes, so that copies aren't published.

    Raises:
        ValueError: a file is damaged or belongs to another network, or the output is there.
    """
    if output.exists():
        raise ValueError(f"{output} is there already; name a new folder.")
    model, tokenizer, unknown = convert(files)
    processor = TweetCapProcessor(_image_processor(), tokenizer)
    seen = SeenTexts.from_texts(seen_texts)
    generation = GenerationConfig(
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.bos_token_id,
        max_new_tokens=MOST_WORDS,
        do_sample=False,
        suppress_tokens=[unknown],  # as the project's last version did
    )
    unfinished = output.with_name(f".{output.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed
    unfinished.mkdir(parents=True)
    save_checkpoint(model, processor, unfinished, half=False, generation=generation)
    if len(seen):
        seen.save(unfinished / SEEN_TEXTS)
    unfinished.rename(output)
    return model.config


def convert(files: NetworkFiles) -> tuple[TweetCapForConditionalGeneration, TweetCapTokenizer, int]:
    """Return the network, its tokenizer, and the id of the word for unknown words.

    Raises:
        ValueError: as `import_network`.
    """
    words = project.read_vocabulary(files.vocabulary)
    tokens, new_ids = _renumber(words, files.vocabulary)
    encoder, decoder = project.read_weights(files.encoder), project.read_weights(files.decoder)
    config = _configuration(files, encoder, decoder, len(tokens))
    known = len(decoder["embed.weight"])
    if known != len(words):
        raise ValueError(
            f"{files.vocabulary} has {len(words)} words and {files.decoder} {known}; "
            "name the vocabulary that it was trained with."
        )
    model = TweetCapForConditionalGeneration(config).eval()
    weights = _matched(model, files, {"encoder": encoder, "decoder": decoder}, len(words))
    for name, filling in FILLINGS.items():
        rows = weights[name].new_full((len(tokens), *weights[name].shape[1:]), filling)
        rows[new_ids] = weights[name]
        weights[name] = rows
    embeddings = weights["decoder.embed_tokens.weight"]
    embeddings[[tokens.index(f"<{tone}>") for tone in TONES]] = embeddings[tokens.index(f"<{DEFAULT_TONE}>")].clone()
    model.load_state_dict(weights)
    with tempfile.TemporaryDirectory() as folder:
        vocabulary = Path(folder) / "vocab.json"
        vocabulary.write_text(json.dumps(tokens), encoding="utf-8")
        tokenizer = TweetCapTokenizer(str(vocabulary), registers=False)
    return model, tokenizer, tokens.index(project.UNKNOWN)


def _image_processor() -> TweetCapImageProcessor:
    return TweetCapImageProcessor(
        size={"height": SIDE, "width": SIDE},
        resample=PILImageResampling.LANCZOS,
        image_mean=IMAGENET_DEFAULT_MEAN,
        image_std=IMAGENET_DEFAULT_STD,
    )


def _renumber(words: list[str], path: Path) -> tuple[list[str], list[int]]:
    """Return the tokens of the new vocabulary, and for each old word its new id."""
    tokens = [*SPECIAL_TOKENS, *BYTE_TOKENS]
    ids = {
        project.PAD: tokens.index(PAD),
        project.START: tokens.index(f"<{DEFAULT_TONE}>"),
        project.END: tokens.index(EOS),
    }
    reserved = set(tokens) - {PAD}
    new_ids = []
    for word in words:
        if word in reserved:
            raise ValueError(f"{path} has the word {word}, which is a sign of tweetcap's own; it can't be imported.")
        if word not in ids:
            ids[word] = len(tokens)
            tokens.append(word)
        new_ids.append(ids[word])
    return tokens, new_ids


# --- The weights ----------------------------------------------------------------------------------


def _configuration(files: NetworkFiles, encoder: Weights, decoder: Weights, vocab_size: int) -> TweetCapConfig:
    """Return the sizes that the weights tell, and that of the new vocabulary."""
    embedding_size, _ = _shape(encoder, "linear.weight", files.encoder)
    _, width = _shape(decoder, "embed.weight", files.decoder)
    _, hidden_size = _shape(decoder, "lstm.weight_hh_l0", files.decoder)
    if "lstm.weight_hh_l1" in decoder:
        raise ValueError(f"{files.decoder} has more than one LSTM layer; only networks with one can be imported.")
    if width != embedding_size:
        raise ValueError(
            f"{files.encoder} gives {embedding_size} numbers a photo and {files.decoder} reads {width}; "
            "name two files of one training."
        )
    block, name = _resnet(encoder, files.encoder)
    return TweetCapConfig(
        decoder_type="photo_first",
        vocab_size=vocab_size,
        encoder_name=name,
        encoder_channels=CHANNELS[block],
        grid_size=REGIONS,
        embedding_size=embedding_size,
        hidden_size=hidden_size,
        dropout=0.0,
    )


def _shape(weights: Weights, name: str, path: Path) -> torch.Size:
    if name not in weights or weights[name].dim() != 2 or not weights[name].numel():
        raise ValueError(f"{path} has no matrix {name}; name what the 2021 project's train.py saved.")
    return weights[name].shape


def _resnet(encoder: Weights, path: Path) -> tuple[str, str]:
    """Return the kind of block and timm's name of the ResNet that the weights are of."""
    blocks = {match.groups() for name in encoder if (match := re.match(r"resnet\.([4-7])\.(\d+)\.", name))}
    depths = [sum(layer == place for layer, _ in blocks) for place in "4567"]
    block = "bottleneck" if "resnet.4.0.conv3.weight" in encoder else "basic"
    name = RESNETS.get((block, *depths))
    if name is None:
        known = ", ".join(RESNETS.values())
        raise ValueError(f"{path} has layers of {depths} {block} blocks; only {known} can be imported.")
    return block, name


def _matched(
    model: TweetCapForConditionalGeneration, files: NetworkFiles, found: dict[str, Weights], words: int
) -> Weights:
    """Return the weights by the model's names, those that have a row a word with the old vocabulary's rows.

    Raises:
        ValueError: one is missing, has another shape, or is left over.
    """
    weights = {}
    for name, parameter in model.state_dict().items():
        begin = next(begin for begin in NAMES if name.startswith(begin))
        kind, old_begin = NAMES[begin]
        path, old = getattr(files, kind), old_begin + name.removeprefix(begin)
        tensor = found[kind].pop(old, None)
        if tensor is None:
            raise ValueError(f"{path} has no {old}, which such a network needs; name what train.py saved.")
        shape = (words, *parameter.shape[1:]) if name in FILLINGS else tuple(parameter.shape)
        if tensor.shape != shape:
            raise ValueError(
                f"{path} has {old} of {tuple(tensor.shape)}, where such a network has {shape}; "
                "name the files of one training."
            )
        weights[name] = tensor
    for kind, rest in found.items():
        if rest:
            raise ValueError(
                f"{getattr(files, kind)} has {next(iter(rest))!r}, which no such network has; name what train.py saved."
            )
    return weights
