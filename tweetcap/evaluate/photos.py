"""The photos that a model is measured on, with what people wrote about them: a corpus folder or a dataset in Parquet.

photos = read_corpus("corpus", "test")            # starter.jsonl and its photos
photos = read_dataset("stair", "validation")      # what `load_dataset("stair")` reads: image, captions
photos.open(photos[0])                            # a path, or the bytes of a file
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import NamedTuple

from tweetcap.data.photo import PhotoError
from tweetcap.data.starter import ReferenceTweet, read_starter, read_training_texts

NO_TONE, NO_STYLE = "つぶやき", "plain"  # of a collected tweet, which says neither


@dataclass(frozen=True)
class EvaluationPhoto:
    """One photo and its references.

    Attributes:
        photo: what names it: the path in the corpus folder, or the file's name in the dataset.
        species: the animal's label; None where nobody gave one.
        captions: plain descriptions, the corpus's own first.
    """

    photo_id: str
    photo: str
    species: str | None
    captions: tuple[str, ...]
    tweets: tuple[ReferenceTweet, ...]


class PhotoSet(Sequence[EvaluationPhoto]):
    """Photos in a fixed order, and how to open them."""

    def __init__(self, photos: Sequence[EvaluationPhoto]):
        self._photos = list(photos)

    def __len__(self) -> int:
        return len(self._photos)

    def __getitem__(self, place):
        return self._photos[place]

    def open(self, photo: EvaluationPhoto) -> Path | bytes:
        """Return what `load_photo` reads.

        Raises:
            PhotoError: there is no such file.
        """
        raise NotImplementedError

    def training_texts(self) -> Iterable[str]:
        """Return every text that training may have read."""
        raise NotImplementedError


# --- A corpus folder ------------------------------------------------------------------------------


class CorpusPhotos(PhotoSet):
    """The photos of one split of a corpus folder."""

    def __init__(self, folder: Path, photos: Sequence[EvaluationPhoto]):
        super().__init__(photos)
        self.folder = folder

    def open(self, photo: EvaluationPhoto) -> Path:
        return self.folder / photo.photo

    def training_texts(self) -> Iterable[str]:
        return read_training_texts(self.folder)


def read_corpus(folder: str | Path, split: str) -> CorpusPhotos:
    """Read one split of a corpus folder.

    Raises:
        ValueError: the folder isn't a corpus, or has no such split.
    """
    folder = Path(folder)
    photos = [
        EvaluationPhoto(
            photo_id=photo.photo_id,
            photo=photo.path.relative_to(folder).as_posix(),
            species=photo.species,
            captions=photo.captions,
            tweets=photo.tweets,
        )
        for photo in read_starter(folder, split)
    ]
    return CorpusPhotos(folder, photos)


# --- A dataset in Parquet -------------------------------------------------------------------------

ID_COLUMNS = ("photo_id", "image_id", "post_id")
TEXT_COLUMNS = ("captions", "caption", "tweets", "text")


class _Place(NamedTuple):
    """Where a photo stands: its file, row group, and number in the row group."""

    file: str
    group: int
    row: int


class DatasetPhotos(PhotoSet):
    """The photos of one split of a dataset in Parquet; they stay in its files, one row group at a time in memory."""

    def __init__(self, photos: Sequence[EvaluationPhoto], places: dict[str, _Place], training_files: Sequence[str]):
        super().__init__(photos)
        self._places = places
        self._training_files = training_files
        self._group: tuple[str, int] | None = None
        self._images: list[dict | None] = []

    def open(self, photo: EvaluationPhoto) -> bytes:
        import pyarrow.parquet as pq

        place = self._places[photo.photo_id]
        if self._group != (place.file, place.group):
            with pq.ParquetFile(place.file) as file:
                self._images = file.read_row_group(place.group, columns=["image"]).column("image").to_pylist()
            self._group = (place.file, place.group)
        image = self._images[place.row]
        if not image or not image.get("bytes"):
            raise PhotoError(f"{photo.photo} has no bytes in {place.file}: build the dataset again with its photos.")
        return image["bytes"]

    def training_texts(self) -> Iterator[str]:
        for file in self._training_files:
            for row, _ in _rows(file):
                yield from _captions(row)
                yield from (tweet.text for tweet in _tweets(row))


def read_dataset(path: str | Path, split: str) -> DatasetPhotos:
    """Read one split of a folder that `load_dataset` reads, or of one Parquet file.

    Columns: `image`; texts in `captions` (a list), `caption`, `tweets` (tone, style, text) or `text` (one tweet, of the
    `tone`); an id in `photo_id`, `image_id` or `post_id`; `species`. Only `image` and one of the texts must be there.
    Rows of one photo_id or image_id are one photo.

    Raises:
        ValueError: there is no such dataset or split, or no column of photos or texts.
    """
    files = _files_of(Path(path), split)
    photos: dict[str, EvaluationPhoto] = {}
    places: dict[str, _Place] = {}
    for file in files[split]:
        for row, place in _rows(file):
            photo = _photo(row, photos)
            photos[photo.photo_id] = photo
            places.setdefault(photo.photo_id, place)
    if not photos:
        raise ValueError(f"{path} has no photo in the split {split!r}; choose another split.")
    return DatasetPhotos(list(photos.values()), places, [] if split == "train" else files.get("train", []))


def _photo(row: dict, others: dict[str, EvaluationPhoto]) -> EvaluationPhoto:
    """Return the row's photo, with the texts of earlier rows where a dataset has a row for each of a photo's texts."""
    file = row.get("file_name") or (row.get("image") or {}).get("path")
    photo_id = next((str(row[name]) for name in ("photo_id", "image_id") if row.get(name) is not None), None)
    if photo_id is None:
        photo_id = _new_id(str(row.get("post_id") or file or "photo"), others)  # a post may have several photos
    earlier = others.get(photo_id)
    captions, tweets = _captions(row), _tweets(row)
    if earlier is not None:
        captions, tweets = tuple(dict.fromkeys(earlier.captions + captions)), earlier.tweets + tweets
    return EvaluationPhoto(photo_id, file or photo_id, row.get("species"), captions, tweets)


def _new_id(name: str, others: dict[str, EvaluationPhoto]) -> str:
    return next(own for n in count(1) if (own := name if n == 1 else f"{name}-{n}") not in others)


def _files_of(path: Path, split: str) -> dict[str, list[str]]:
    """Return split → Parquet files; one file alone is any split that is asked for."""
    from datasets import load_dataset_builder

    if path.is_file() and path.suffix == ".parquet":
        return {split: [str(path)]}
    if not path.is_dir():
        raise ValueError(f"{path} is neither a folder nor a Parquet file; give a dataset that load_dataset reads.")
    try:
        # Finds the files by the card or by their names, as load_dataset does, and copies none of them.
        found = load_dataset_builder(str(path)).config.data_files or {}
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is no dataset ({' '.join(str(error).split())}); give one in Parquet.") from error
    files = {
        str(name): [str(file) for file in names if str(file).endswith(".parquet")] for name, names in found.items()
    }
    if not files.get(split):
        raise ValueError(f"{path} has no Parquet in the split {split!r}; it has {', '.join(sorted(files)) or 'none'}.")
    return files


def _rows(path: str) -> Iterator[tuple[dict, _Place]]:
    """Yield the rows without the photos' bytes."""
    import pyarrow.parquet as pq
    from pyarrow import ArrowInvalid

    try:
        with pq.ParquetFile(path) as file:
            names = set(file.schema_arrow.names)
            if "image" not in names or not names & set(TEXT_COLUMNS):
                raise ValueError(f"{path} has the columns {', '.join(sorted(names))}; image and captions are needed.")
            columns = ["image.path", *sorted(names & {*ID_COLUMNS, *TEXT_COLUMNS, "species", "tone", "file_name"})]
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=columns)
                for number, row in enumerate(table.to_pylist()):
                    yield row, _Place(path, group, number)
    except ArrowInvalid as error:
        raise ValueError(f"{path} is not Parquet ({' '.join(str(error).split())}); build the dataset again.") from error


def _captions(row: dict) -> tuple[str, ...]:
    captions = row.get("captions") or [row.get("caption")]
    return tuple(dict.fromkeys(caption for caption in captions if caption and caption.strip()))


def _tweets(row: dict) -> tuple[ReferenceTweet, ...]:
    if row.get("text"):
        return (ReferenceTweet(row.get("tone") or NO_TONE, NO_STYLE, row["text"]),)
    tweets = [tweet if isinstance(tweet, dict) else {"text": tweet} for tweet in row.get("tweets") or ()]
    return tuple(
        ReferenceTweet(tweet.get("tone") or NO_TONE, tweet.get("style") or NO_STYLE, tweet["text"])
        for tweet in tweets
        if tweet.get("text")
    )
