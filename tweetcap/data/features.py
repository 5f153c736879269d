"""Photos for training: augmented views, and what a frozen encoder says of each, kept so that the CNN runs once."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2
from tqdm import tqdm

from tweetcap.data.photo import load_photo
from tweetcap.model import TweetCapForConditionalGeneration, TweetCapImageProcessor

# Crops keep at least two thirds of the photo, so that an animal at the edge stays recognisable.
AUGMENT = v2.Compose(
    [
        v2.RandomResizedCrop(size=288, scale=(0.66, 1.0), ratio=(0.8, 1.25), antialias=True),
        v2.RandomHorizontalFlip(),
        v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02),
    ]
)


def supports_bfloat16(device: torch.device) -> bool:
    """Say whether the hardware itself multiplies bfloat16, not merely whether PyTorch can imitate it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


class PhotoViews(Dataset):
    """Every photo in several views: view 0 as it is, view 1 mirrored, the others augmented; the same each time.

    Items are (photo index, view) → `pixel_values` (3, height, width).
    """

    def __init__(self, paths: Sequence[Path], image_processor: TweetCapImageProcessor, seed: int = 0):
        self.paths = list(paths)
        self.image_processor = image_processor
        self.seed = seed

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: tuple[int, int]) -> torch.Tensor:
        index, view = key
        photo = load_photo(self.paths[index])
        if view == 1:
            photo = v2.functional.horizontal_flip(photo)
        elif view > 1:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(hash((self.seed, index, view)) % 2**31)
                photo = AUGMENT(photo)
        return self.image_processor(photo, return_tensors="pt")["pixel_values"][0]


class FeatureCache:
    """What the frozen encoder says of every view of every photo, as arrays on disk.

    Args:
        regions: (photos, views, regions, channels) float16.
        pooled: (photos, views, channels) float16.
        concepts: ids and log-probabilities (photos, views, concepts), where the model isn't to find them itself.
    """

    def __init__(self, regions: np.ndarray, pooled: np.ndarray, concepts: tuple[np.ndarray, np.ndarray] | None = None):
        self.regions = regions
        self.pooled = pooled
        self.concepts = concepts
        self.views = regions.shape[1]

    @classmethod
    def build(
        cls,
        model: TweetCapForConditionalGeneration,
        photos: PhotoViews,
        views: int,
        folder: Path,
        batch_size: int = 32,
    ) -> "FeatureCache":
        """Return the cache for these photos and this encoder; work it out where the folder doesn't hold it yet."""
        key = _cache_key(model, photos, views)
        files = [folder / f"{key}-{name}.npy" for name in ("regions", "pooled")]
        if not all(file.exists() for file in files):
            folder.mkdir(parents=True, exist_ok=True)
            _encode_all(model, photos, views, files, batch_size)
        return cls(*(np.load(file, mmap_mode="r") for file in files))

    def rows(self, index: np.ndarray, view: np.ndarray) -> dict[str, torch.Tensor]:
        """Return the encoder's output for chosen views, by its fields' names; index and view are (batch,)."""
        rows = {
            "last_hidden_state": torch.from_numpy(self.regions[index, view]).float(),
            "pooler_output": torch.from_numpy(self.pooled[index, view]).float(),
        }
        if self.concepts:
            ids, log_probs = self.concepts
            rows["concept_ids"] = torch.from_numpy(ids[index, view])
            rows["concept_log_probs"] = torch.from_numpy(log_probs[index, view])
        return rows


def _cache_key(model: TweetCapForConditionalGeneration, photos: PhotoViews, views: int) -> str:
    digest = hashlib.sha256()
    for part in (
        model.config.encoder_name,
        model.config.grid_size,
        photos.image_processor.to_json_string(),
        photos.seed,
        views,
    ):
        digest.update(f"{part}\n".encode())
    for path in photos.paths:
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
    weights = next(model.encoder.cnn.parameters()).detach().float().cpu().numpy()
    digest.update(weights.tobytes())
    return digest.hexdigest()[:16]


@torch.no_grad()
def _encode_all(model, photos: PhotoViews, views: int, files: list[Path], batch_size: int) -> None:
    config, encoder = model.config, model.encoder.eval()
    regions_shape = (len(photos), views, config.grid_size**2, config.encoder_channels)
    partial = [file.with_suffix(".partial") for file in files]
    regions = np.lib.format.open_memmap(partial[0], "w+", np.float16, regions_shape)
    pooled = np.lib.format.open_memmap(partial[1], "w+", np.float16, (len(photos), views, config.encoder_channels))
    keys = [(index, view) for index in range(len(photos)) for view in range(views)]
    # A generator of its own: whether the cache was there or not must not shift the random numbers of a run.
    loader = DataLoader(photos, batch_size, sampler=keys, generator=torch.Generator())
    done = 0
    for pixel_values in tqdm(loader, desc="encoding photos", unit=" batches"):
        pixel_values = pixel_values.to(model.device, memory_format=torch.channels_last)
        with torch.autocast(model.device.type, torch.bfloat16, enabled=supports_bfloat16(model.device)):
            output = encoder(pixel_values)
        for row in range(len(pixel_values)):
            index, view = keys[done + row]
            regions[index, view] = output.last_hidden_state[row].half().cpu().numpy()
            pooled[index, view] = output.pooler_output[row].half().cpu().numpy()
        done += len(pixel_values)
    for array, source, target in zip((regions, pooled), partial, files, strict=True):
        array.flush()
        source.rename(target)
