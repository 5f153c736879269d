"""Made archives in the layout that X gives its users, for the tests."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

USER_ID, USERNAME = "1234567890", "maru_shiba"


def jpeg(seed: int, size: tuple[int, int] = (64, 48), quality: int = 90) -> bytes:
    """Return a photo of smooth random patches: different seeds look different, other qualities and sizes the same."""
    patches = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = Image.fromarray(patches).resize(size, Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def media(number: int, kind: str = "photo") -> dict:
    return {
        "id_str": str(900_000 + number),
        "type": kind,
        "url": f"https://t.co/media{number}",
        "media_url_https": f"https://pbs.twimg.com/media/F{number}abc.jpg",
        "sizes": {"large": {"w": "1200", "h": "900", "resize": "fit"}},
    }


def tweet(number: int, text: str = "窓際で溶けてる", photos: int = 1, kind: str = "photo", **more) -> dict:
    """Return one element of `tweets.js`; numbers are strings there."""
    items = [media(10 * number + index, kind) for index in range(photos)]
    row = {
        "id": str(10**15 + number),
        "id_str": str(10**15 + number),
        "full_text": " ".join([text, *(item["url"] for item in items)]),
        "created_at": f"Tue Apr {1 + number % 28:02d} 14:56:{number % 60:02d} +0000 2015",
        "lang": "ja",
        "favorite_count": str(number * 3),
        "retweet_count": "1",
        "entities": {"hashtags": [], "user_mentions": [], "urls": [], "media": items[:1]},
        **({"extended_entities": {"media": items}} if items else {}),
    }
    return {"tweet": row | more}


def script(rows: list, name: str = "tweets", part: int = 0) -> bytes:
    return f"window.YTD.{name}.part{part} = {json.dumps(rows, ensure_ascii=False, indent=2)}".encode()


def archive_files(tweets: list[dict], photos: bool = True) -> dict[str, bytes]:
    """Return an archive as path → content."""
    account = {"account": {"email": "me@example.com", "username": USERNAME, "accountId": USER_ID}}
    files = {"data/account.js": script([account], "account"), "data/tweets.js": script(tweets)}
    for row in tweets:
        row = row["tweet"]
        for item in row.get("extended_entities", {}).get("media", []):
            if photos:
                name = item["media_url_https"].rpartition("/")[2]
                files[f"data/tweets_media/{row['id_str']}-{name}"] = jpeg(int(item["id_str"]))
    return files


def write_zip(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path
