"""STAIR Captions (Yoshikawa, Shigeto and Takeuchi, ACL 2017): Japanese captions by people for the photos of COCO 2014.

    stair = StairCaptions(config_name="v1.2", images="coco/", annotations="stair_captions_v1.2.tar.gz")
    stair.download_and_prepare()
    stair.as_dataset(split="validation")[0]["captions"]

    build_stair("out", StairConfig(name="v1.2", images="coco/"))    # sharded Parquet with a card

`datasets` refuses loading scripts, so the builder's class is used directly, and what is published is the Parquet.
Without `images` and `annotations` both are downloaded, 20 GB in all. Photos are read out of COCO's zips, which are not
unpacked.

The corpus has 820,310 captions of 164,062 photos, but its authors keep those of COCO's test photos: public are 616,435
captions of 123,287 photos, five each.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets import DatasetInfo, Features, GeneratorBasedBuilder, Image, List, SplitGenerator, Value
from datasets.utils.logging import get_logger

from tweetcap.data.coco import CaptionedImage, CocoIndex, PhotoFiles
from tweetcap.data.shards import Built, LeftOut, Row, write_shards
from tweetcap.data.stair_sources import HOMEPAGE, SPLITS, Source, StairConfig, prepare_sources

CITATION = """\
@inproceedings{yoshikawa2017stair,
  title = {{STAIR} Captions: Constructing a Large-Scale {J}apanese Image Caption Dataset},
  author = {Yoshikawa, Yuya and Shigeto, Yutaro and Takeuchi, Akikazu},
  booktitle = {Proceedings of the 55th Annual Meeting of the Association for Computational Linguistics
    (Volume 2: Short Papers)},
  pages = {417--421},
  year = {2017}
}
"""


class StairCaptions(GeneratorBasedBuilder):
    """The builder; `download_and_prepare(num_proc=…)` and `as_dataset()` work as for any of `datasets`."""

    BUILDER_CONFIG_CLASS = StairConfig
    BUILDER_CONFIGS = [
        StairConfig(name="v1.2", description="the last release"),
        StairConfig(name="v1.2_tokenized", description="the last release, with words set apart"),
        StairConfig(name="v1.1", description="the release before, with words set apart"),
        StairConfig(name="v1.0", description="the first release"),
    ]
    DEFAULT_CONFIG_NAME = "v1.2"

    def _info(self) -> DatasetInfo:
        self.config.check()
        return DatasetInfo(
            description="Japanese captions by people for the photos of COCO 2014.",
            features=stair_features(self.config),
            homepage=HOMEPAGE,
            license="CC BY 4.0 (the captions; each photo has its own licence)",
            citation=CITATION,
        )

    def _split_generators(self, dl_manager: Any) -> list[SplitGenerator]:
        generators = []
        for split, source in prepare_sources(self.config).items():
            _report(source.problems(), split)
            count = source.count(self.config.limit)
            # A list of ranges is what `num_proc` divides among its processes.
            ranges = [range(start, min(start + 1_000, count)) for start in range(0, count, 1_000)]
            kwargs = {"split": split, "source": source, "ranges": ranges}
            generators.append(SplitGenerator(name=split, gen_kwargs=kwargs))
        return generators

    def _generate_examples(self, split: str, source: Source, ranges: list[range]) -> Iterator[tuple[str, Row]]:
        left_out = []
        for numbers in ranges:
            for number, row in enumerate(read_rows(source, self.config.rows, self.config.tokenized, numbers)):
                if isinstance(row, LeftOut):
                    left_out.append(row)
                else:
                    yield f"{numbers.start}-{number}", row
        _report(left_out, split)


def _report(left_out: list[LeftOut], split: str) -> None:
    if left_out:
        logger = get_logger(__name__)
        first = "; ".join(f"{name}: {reason}" for name, reason in left_out[:3])
        logger.warning(f"STAIR Captions, {split}: {len(left_out)} left out. {first}")
        for name, reason in left_out[3:]:
            logger.info(f"STAIR Captions, {split}: {name}: {reason}")


def stair_features(config: StairConfig) -> Features:
    """Return the columns of a row, which depend on what a row is and whether the release is tokenized."""
    text = Value("string")
    if config.rows == "image":
        captions = {"caption_ids": List(Value("int64")), "captions": List(text)}
        tokenized = {"tokenized_captions": List(text)}
    else:
        captions = {"caption_id": Value("int64"), "caption": text}
        tokenized = {"tokenized_caption": text}
    return Features(
        {
            "image": Image(),
            "image_id": Value("int64"),
            "file_name": text,
            **captions,
            **(tokenized if config.tokenized else {}),
            "width": Value("int32"),
            "height": Value("int32"),
            "license": text,
            "license_url": text,
            "coco_url": text,
            "flickr_url": text,
        }
    )


def build_stair(
    output: str | Path,
    config: StairConfig,
    *,
    card: str,
    rows_per_shard: int = 2_000,
    num_proc: int = 1,
    overwrite: bool = False,
) -> Built:
    """Write the corpus as sharded Parquet with a card, or what a cut call left of it.

    Args:
        rows_per_shard: images a shard; 2,000 of COCO's photos make some 320 MB.
        others: as `write_shards`.

    Raises:
        ValueError: a file is missing or isn't what it should be, a download failed, or `output` is something else's.
    """
    sources = prepare_sources(config)
    # Numbers run on from split to split, so that a number alone says which split it is of.
    splits: dict[str, range] = {}
    for split, source in sources.items():
        start = sum(map(len, splits.values()))
        splits[split] = range(start, start + source.count(config.limit))
    settings = {
        "config": config.name,
        "rows": config.rows,
        "photos": config.photos,
        "limit": config.limit,
        "splits": list(config.splits),
        "annotations": {split: source.index.stem for split, source in sources.items()},
        "images": [str(path.resolve()) for path in config.image_paths],
    }
    return write_shards(
        output,
        splits,
        functools.partial(read_numbers, sources, splits, config.rows, config.tokenized),
        stair_features(config),
        settings=settings,
        card=card.rstrip() + _this_copy(config),
        left_out=[(split, problem) for split, source in sources.items() for problem in source.problems()],
        rows_per_shard=rows_per_shard,
        num_proc=num_proc,
        overwrite=overwrite,
    )


def _this_copy(config: StairConfig) -> str:
    parts = [f"--config {config.name}", f"--rows {config.rows}", f"--{config.photos}"]
    parts += [f"--split {split}" for split in config.splits if len(config.splits) < len(SPLITS)]
    parts += [f"--limit {config.limit}"] if config.limit else []
    return f"\n\n## This copy\n\nBuilt by `tweetcap dataset build stair {' '.join(parts)}`.\n"


# --- Rows -----------------------------------------------------------------------------------------


def read_numbers(
    sources: dict[str, Source], splits: dict[str, range], rows: str, tokenized: bool, numbers: range
) -> Iterator[Row | LeftOut]:
    """Yield the rows of some numbers, which are all of one split."""
    split = next(split for split, own in splits.items() if numbers[0] in own)
    start = splits[split].start
    yield from read_rows(sources[split], rows, tokenized, range(numbers[0] - start, numbers[-1] + 1 - start))


def read_rows(source: Source, rows: str, tokenized: bool, numbers: range) -> Iterator[Row | LeftOut]:
    """Yield the rows of some images of a split; an image whose photo can't be had is left out."""
    with PhotoFiles(source.folders, source.zip_index) as files:
        for image in CocoIndex(source.index).images(numbers):
            url = coco_url(image.file_name)
            try:
                # Without a name: `datasets` drops the bytes where a file of that name lies in the working folder.
                photo = {"bytes": files.read(image), "path": None} if source.embed else {"bytes": None, "path": url}
            except ValueError as error:
                yield LeftOut(image.file_name, str(error))
                continue
            shared = {
                "image": photo,
                "image_id": image.image_id,
                "file_name": image.file_name,
                "width": image.width,
                "height": image.height,
                "license": image.license,
                "license_url": image.license_url,
                "coco_url": url,
                "flickr_url": image.flickr_url,
            }
            yield from _rows_of_image(image, shared, rows, tokenized)


def _rows_of_image(image: CaptionedImage, shared: Row, rows: str, tokenized: bool) -> Iterator[Row]:
    if rows == "caption":
        for caption in image.captions:
            own = {"caption_id": caption.caption_id, "caption": caption.text}
            yield {**shared, **own, **({"tokenized_caption": caption.tokenized} if tokenized else {})}
        return
    columns = {
        "caption_ids": [caption.caption_id for caption in image.captions],
        "captions": [caption.text for caption in image.captions],
    }
    if tokenized:
        columns["tokenized_captions"] = [caption.tokenized for caption in image.captions]
    yield {**shared, **columns}


def coco_url(file_name: str) -> str | None:
    """Return where COCO's server has a photo of the 2014 release; the addresses in caption files are older ones."""
    release = next((name for name in ("train2014", "val2014") if f"_{name}_" in file_name), None)
    return f"http://images.cocodataset.org/{release}/{file_name}" if release else None
