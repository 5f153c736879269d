"""Photos for training: augmented views, and what a frozen encoder says of each, kept so that the CNN runs once."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2
from tqdm import tqdm

from tweetcap.data.photo import PhotoError
from tweetcap.data.precision import supports_bfloat16
from tweetcap.data.shards import LeftOut
from tweetcap.data.tables import BadRows, Photo, load_stored
from tweetcap.model import TweetCapForConditionalGeneration, TweetCapImageProcessor

SAVE_EVERY = 200  # batches


def augmentation(height: int, width: int) -> v2.Compose:
    """Return what makes a new view of a photo, as large as the encoder wants it.

    Crops keep at least two thirds of the photo, so that an animal at the edge stays recognisable. Hue stays as it is:
    turning it would take as long as all the rest.
    """
    return v2.Compose(
        [
            v2.RandomResizedCrop(size=(height, width), scale=(0.66, 1.0), ratio=(0.8, 1.25), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2),
        ]
    )


class PhotoViews(Dataset):
    """Every photo in several views: view 0 as it is, view 1 mirrored, the others augmented; the same each time.

    Items are (photo index, view) → `pixel_values` (3, height, width); a photo that can't be read raises `PhotoError`.
    """

    def __init__(self, photos: Sequence[Photo], image_processor: TweetCapImageProcessor, seed: int = 0):
        self.photos = photos
        self.image_processor = image_processor
        self.seed = seed
        self.augment = augmentation(image_processor.size["height"], image_processor.size["width"])

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, key: tuple[int, int]) -> torch.Tensor:
        index, view = key
        photo = load_stored(self.photos[index])
        if view == 1:
            photo = v2.functional.horizontal_flip(photo)
        elif view > 1:
            with torch.random.fork_rng(devices=[]):
                # Not torch.manual_seed: it takes a note for each device that is still asleep, and keeps them all.
                torch.default_generator.manual_seed(hash((self.seed, index, view)) % 2**31)
                photo = self.augment(photo)
        return self.image_processor(photo, return_tensors="pt")["pixel_values"][0]


class FeatureCache:
    """What the frozen encoder says of every view of every photo, as arrays on disk.

    Args:
        regions: (photos, views, regions, channels) float16.
        pooled: (photos, views, channels) float16.
        concepts: ids and log-probabilities (photos, views, concepts), where the model isn't to find them itself.
        sights: log-probabilities (photos, views, sights), where the model isn't to find them itself.
        unreadable: indices of photos that could not be read; their features are zeros.
    """

    def __init__(
        self,
        regions: np.ndarray,
        pooled: np.ndarray,
        concepts: tuple[np.ndarray, np.ndarray] | None = None,
        sights: np.ndarray | None = None,
        unreadable: Sequence[int] = (),
    ):
        self.regions = regions
        self.pooled = pooled
        self.concepts = concepts
        self.sights = sights
        self.unreadable = np.array(unreadable, dtype=np.int64)
        self.views = regions.shape[1]

    @classmethod
    def build(
        cls,
        model: TweetCapForConditionalGeneration,
        photos: PhotoViews,
        views: int,
        folder: Path,
        batch_size: int = 32,
        workers: int = 0,
        bad_rows: BadRows | None = None,
    ) -> "FeatureCache":
        """Return the cache for these photos and this encoder; work out what of it the folder doesn't hold yet.

        Raises:
            ValueError: names a photo that can't be read, unless `bad_rows` says to go on.
        """
        key = _cache_key(model, photos, views)
        files = [folder / f"{key}-{name}.npy" for name in ("regions", "pooled")]
        bad_rows = bad_rows or BadRows()
        if not all(file.exists() for file in files):
            folder.mkdir(parents=True, exist_ok=True)
            _encode_all(model, photos, views, files, batch_size, workers, bad_rows)
        reasons = _read_unreadable(files[0])
        for index, reason in reasons.items():
            bad_rows.report(LeftOut(str(photos.photos[index]), reason))
        return cls(*(np.load(file, mmap_mode="r") for file in files), unreadable=sorted(reasons))

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
        if self.sights is not None:
            rows["sight_log_probs"] = torch.from_numpy(self.sights[index, view])
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
    if views > 2:
        digest.update(f"{photos.augment}\n".encode())
    for photo in photos.photos:
        version = f"{photo.name} {photo.stat().st_size}" if isinstance(photo, Path) else photo.version
        digest.update(f"{version}\n".encode())
    weights = next(model.encoder.cnn.parameters()).detach().float().cpu().numpy()
    digest.update(weights.tobytes())
    return digest.hexdigest()[:16]


class _ReadableViews(Dataset):
    """Items are (pixel_values, reason): zeros and why, for a photo that can't be read."""

    def __init__(self, photos: PhotoViews):
        self.photos = photos

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, str]:
        try:
            return self.photos[key], ""
        except PhotoError as error:
            size = self.photos.image_processor.size
            return torch.zeros(3, size["height"], size["width"]), str(error)


def _unreadable_file(regions: Path) -> Path:
    return regions.with_name(regions.name.replace("-regions.npy", "-unreadable.json"))


def _read_unreadable(regions: Path) -> dict[int, str]:
    path = _unreadable_file(regions)
    return {int(index): reason for index, reason in json.loads(path.read_text()).items()} if path.exists() else {}


@torch.no_grad()
def _encode_all(
    model,
    photos: PhotoViews,
    views: int,
    files: list[Path],
    batch_size: int,
    workers: int,
    bad_rows: BadRows,
) -> None:
    """Fill the cache's files, or what a cut left of them to fill."""
    config, encoder = model.config, model.encoder.eval()
    shapes = [
        (len(photos), views, config.grid_size**2, config.encoder_channels),
        (len(photos), views, config.encoder_channels),
    ]
    partial = [file.with_suffix(".partial") for file in files]
    progress = files[0].with_suffix(".progress")
    done, reasons = 0, {}
    if progress.exists() and all(file.exists() for file in partial):
        saved = json.loads(progress.read_text())
        done, reasons = saved["done"], {int(index): reason for index, reason in saved["unreadable"].items()}
    arrays = [
        np.lib.format.open_memmap(file, "r+" if done else "w+", np.float16, shape)
        for file, shape in zip(partial, shapes, strict=True)
    ]
    regions, pooled = arrays
    keys = [(index, view) for index in range(len(photos)) for view in range(views)]
    # A generator of its own: whether the cache was there or not must not shift the random numbers of a run.
    loader = DataLoader(
        _ReadableViews(photos), batch_size, sampler=keys[done:], num_workers=workers, generator=torch.Generator()
    )
    bar = tqdm(total=len(keys), initial=done, desc="encoding photos", unit=" views")
    for number, (pixel_values, errors) in enumerate(loader, 1):
        pixel_values = pixel_values.to(model.device, memory_format=torch.channels_last)
        with torch.autocast(model.device.type, torch.bfloat16, enabled=supports_bfloat16(model.device)):
            output = encoder(pixel_values)
        for row, error in enumerate(errors):
            index, view = keys[done + row]
            if error:
                bad_rows.report(LeftOut(str(photos.photos[index]), error))
                reasons[index] = error
                continue
            regions[index, view] = output.last_hidden_state[row].half().cpu().numpy()
            pooled[index, view] = output.pooler_output[row].half().cpu().numpy()
        done += len(pixel_values)
        bar.update(len(pixel_values))
        if number % SAVE_EVERY == 0:
            _flush(arrays, progress, done, reasons)
    bar.close()
    _flush(arrays, progress, done, reasons)
    if reasons:
        _unreadable_file(files[0]).write_text(json.dumps(reasons, ensure_ascii=False))
    for source, target in zip(partial, files, strict=True):
        source.rename(target)
    progress.unlink()


def _flush(arrays: list[np.ndarray], progress: Path, done: int, reasons: dict[int, str]) -> None:
    for array in arrays:
        array.flush()
    fresh = progress.with_suffix(".new")
    fresh.write_text(json.dumps({"done": done, "unreadable": reasons}, ensure_ascii=False))
    fresh.replace(progress)
