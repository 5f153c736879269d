"""The 2021 network built again from torchvision and torch alone, and its files as its scripts wrote them.

Nothing here knows how `tweetcap` reads or computes any of it.
"""

import pickle
import sys
import types
from pathlib import Path

import torch
import torchvision
from PIL import Image
from torch import nn
from torchvision import transforms

WORDS = [
    "<pad>",
    "<start>",
    "<end>",
    "<unk>",
    "ライオン",
    "が",
    "こちら",
    "を",
    "見",
    "て",
    "いる",
    "チーター",
    "!",
    "草",
]
WORDS += [f"語{number}" for number in range(40)]


class Encoder(nn.Module):
    def __init__(self, resnet: nn.Module, embed_size: int):
        super().__init__()
        self.resnet = nn.Sequential(*list(resnet.children())[:-1])
        self.linear = nn.Linear(resnet.fc.in_features, embed_size)
        self.bn = nn.BatchNorm1d(embed_size, momentum=0.01)

    def forward(self, pixel_values):
        with torch.no_grad():
            pooled = self.resnet(pixel_values).flatten(1)
        return self.bn(self.linear(pooled))


class Decoder(nn.Module):
    def __init__(self, vocab_size: int, embed_size: int, hidden_size: int):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, embed_size)
        self.lstm = nn.LSTM(embed_size, hidden_size, 1, batch_first=True)
        self.linear = nn.Linear(hidden_size, vocab_size)

    def forward(self, photo, captions):
        """Return logits (batch, length + 1, words): of the first word, then of those after each of the caption's."""
        inputs = torch.cat([photo.unsqueeze(1), self.embed(captions)], 1)
        return self.linear(self.lstm(inputs)[0])

    @torch.no_grad()
    def sample(self, photo, without_unknown: bool, words: int = 20):
        """Return ids (batch, words) by greedy choice; whatever follows an end is to be cut."""
        inputs, state, chosen = photo.unsqueeze(1), None, []
        for _ in range(words):
            hidden, state = self.lstm(inputs, state)
            logits = self.linear(hidden[:, 0])
            if without_unknown:
                logits[:, 3] = float("-inf")
            chosen.append(logits.argmax(1))
            inputs = self.embed(chosen[-1]).unsqueeze(1)
        return torch.stack(chosen, 1)


def build(
    resnet: str = "resnet18", words: int = len(WORDS), embed_size: int = 32, hidden_size: int = 48, seed: int = 0
):
    """Return an encoder and a decoder with random weights, in evaluation mode."""
    torch.manual_seed(seed)
    encoder = Encoder(getattr(torchvision.models, resnet)(), embed_size)
    decoder = Decoder(words, embed_size, hidden_size)
    # As after training: no statistic at its first value, and weights that tell photos and words apart.
    with torch.no_grad():
        for name, tensor in (*encoder.named_buffers(), *encoder.bn.named_parameters()):
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) * 0.5 + (0.75 if "var" in name or "weight" in name else -0.25))
        for block in encoder.resnet.modules():
            last = getattr(block, "bn3", getattr(block, "bn2", None))
            if last is not None:
                last.weight.mul_(0.3)  # else fifty blocks with random weights add up to millions
        for weight in decoder.parameters():
            weight.mul_(3.0)
    return encoder.eval(), decoder.eval()


def teach(encoder: Encoder, decoder: Decoder, photos: list[Image.Image], captions: list[list[str]]) -> None:
    """Fit the decoder to a caption a photo until it says them; batch normalisation keeps the statistics it has."""
    optimizer = torch.optim.Adam(decoder.parameters(), lr=0.01)
    photo = encoder(pixels(photos)).detach()
    rows = [[WORDS.index(word) for word in ("<start>", *caption, "<end>")] for caption in captions]
    longest = max(map(len, rows))
    targets = torch.tensor([row + [-100] * (longest - len(row)) for row in rows])
    for _ in range(150):
        logits = decoder(photo, targets[:, :-1].clamp_min(0))
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def pixels(photos: list[Image.Image]) -> torch.Tensor:
    """Return (batch, 3, 224, 224) as sample.py prepared photos."""
    prepare = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    )
    return torch.stack([prepare(photo.convert("RGB").resize((224, 224), Image.LANCZOS)) for photo in photos])


def pickled_vocabulary(words: list[str], protocol: int = 3, module: str = "build_vocab") -> bytes:
    """Return the pickle of a `Vocabulary` object whose module is gone afterwards."""
    kind = type("Vocabulary", (), {"__module__": module})
    vocabulary = kind()
    vocabulary.word2idx = {word: index for index, word in enumerate(words)}
    vocabulary.idx2word = dict(enumerate(words))
    vocabulary.idx = len(words)
    there = sys.modules.get(module)
    sys.modules[module] = types.ModuleType(module)
    sys.modules[module].Vocabulary = kind
    try:
        return pickle.dumps(vocabulary, protocol=protocol)
    finally:
        sys.modules.pop(module) if there is None else sys.modules.update({module: there})


def write_project(
    folder: Path,
    encoder: nn.Module,
    decoder: nn.Module,
    words: list[str] = WORDS,
    name: str = "10-280.twitter.epoch10",
    legacy: bool = False,
) -> Path:
    """Write models/ and data/vocab.pkl; `legacy` is torch's format before 1.6."""
    (folder / "models").mkdir(parents=True, exist_ok=True)
    (folder / "data").mkdir(exist_ok=True)
    options = {"_use_new_zipfile_serialization": not legacy}
    torch.save(encoder.state_dict(), folder / "models" / f"encoder-{name}.ckpt", **options)
    torch.save(decoder.state_dict(), folder / "models" / f"decoder-{name}.ckpt", **options)
    (folder / "data" / "vocab.pkl").write_bytes(pickled_vocabulary(words))
    return folder
