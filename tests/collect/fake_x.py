"""A fake X API v2 on loopback, over real HTTP: accounts, timelines, posts, compliance jobs and photo files.

Its world is made from a seed. It counts what it would charge, answers by the documented limits, and commits
any fault on a schedule. What it knows of the API is in the handlers below.

    with FakeX(make_world(accounts=31, posts=6000)) as x:
        Client(folder, TOKEN, ledger, api=x.url)
"""

import io
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from PIL import Image

from tweetcap.collect.budget import Reads
from tweetcap.collect.timelines import first_id

TOKEN = "AAAAAAAAAAAAAAAAAAAAAFakeFakeFake%2FTokenOfTheTests%3D1234567890"

# What X answered is lost or damaged after it was charged; the others are refused and cost nothing.
PAID_FAULTS = ("cut", "cut in the body", "malformed", "html", "no object", "odd shape", "one row", "huge id")
FREE_FAULTS = ("429", "429 bare", "500", "502", "503", "504")
HARMLESS_FAULTS = ("partial errors",)
PHOTO_FAULTS = ("cut", "cut in the body", "500", "503", "429 bare")

SUBJECTS = ("うちの猫", "近所の犬", "庭のスズメ", "動物園のカワウソ", "白いフクロウ", "寝ぼけたハムスター", "池のカモ")
REMARKS = (
    "がこっちを見ている",
    "、今日も動かない",
    "に朝から怒られた",
    "のおしりが丸い",
    "、それは私の椅子です",
    "が溶けた",
)


def random_faults(seed: int, rate: float, kinds: Iterable[str]) -> Iterator[str | None]:
    """Yield faults at this rate for ever, at most three in a row, so that patience helps."""
    generator, kinds, row = random.Random(seed), tuple(kinds), 0
    while True:
        fault = generator.choice(kinds) if row < 3 and generator.random() < rate else None
        row = row + 1 if fault else 0
        yield fault


class FakeTime:
    """A clock that only moves when someone sleeps."""

    def __init__(self) -> None:
        self.now = 1_767_000_000.0
        self.naps: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


@dataclass
class FakeUser:
    """state: "suspended", "protected" or "gone", or "" for one that is read as usual."""

    user_id: str
    username: str
    state: str = ""
    posts: list[dict[str, Any]] = field(default_factory=list)  # newest first


@dataclass
class World:
    users: list[FakeUser]
    media: dict[str, dict[str, Any]]

    def __post_init__(self) -> None:
        self.posts = {post["id"]: post for user in self.users for post in user.posts}
        self.by_id = {user.user_id: user for user in self.users}

    def named(self, name: str) -> FakeUser | None:
        return next((user for user in self.users if user.username.lower() == name.lower()), None)


def make_world(accounts: int = 31, posts: int = 6000, seed: int = 0) -> World:
    """Make accounts with the posts spread over them: replies, reposts, quotes, videos, long texts, several photos."""
    generator = random.Random(seed)
    users, media = [], {}
    start = datetime(2024, 1, 1, tzinfo=UTC)
    for index in range(accounts):
        user = FakeUser(str(1_000_000_000_000 + index * 7919), f"animal_{index:02d}")
        for number in range(posts // accounts + (index < posts % accounts)):
            moment = start + timedelta(hours=3 * number, minutes=index, milliseconds=generator.randrange(60_000))
            user.posts.append(_make_post(user, moment, generator, media))
        user.posts.reverse()
        users.append(user)
    return World(users, media)


def _make_post(user: FakeUser, moment: datetime, generator: random.Random, media: dict) -> dict[str, Any]:
    post_id = str(first_id(moment) + generator.randrange(1 << 22))
    text = generator.choice(SUBJECTS) + generator.choice(REMARKS)
    urls, references = [], []
    kind = generator.choices(
        ("photo", "photos", "video", "text", "link", "reply", "repost", "quote", "long", "english"),
        weights=(50, 14, 4, 6, 4, 8, 6, 3, 3, 2),
    )[0]
    if kind == "english":
        text = "The cat & the <fence> are friends"
    if kind == "link":
        urls.append({"url": "https://t.co/linklink01", "expanded_url": f"https://example.com/{post_id}?a=1&b=2"})
    if kind in ("reply", "repost", "quote"):
        name = {"reply": "replied_to", "repost": "retweeted", "quote": "quoted"}[kind]
        references.append({"type": name, "id": str(int(post_id) - 1000)})
    keys = []
    count = {"photos": generator.randint(2, 4), "text": 0, "link": 0}.get(kind, 1)
    for number in range(count):
        is_video = kind == "video"
        key = f"{7 if is_video else 3}_{post_id}{number}"
        item = {"media_key": key, "type": "video" if is_video else "photo", "width": 96, "height": 64}
        if not is_video:
            item["name"] = f"{key}.jpg"
            if generator.random() < 0.2:
                item["alt_text"] = "写真の説明"
            if generator.random() < 0.05 and media:
                item["copy_of"] = generator.choice(list(media))  # someone else's photo, saved again
        media[key] = item
        keys.append(key)
    for number, key in enumerate(keys, start=1):
        link = f"https://x.com/{user.username}/status/{post_id}/photo/{number}"
        urls.append({"url": "https://t.co/photolink1", "expanded_url": link, "media_key": key})
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    if generator.random() < 0.3:
        escaped += " #動物"
    post = {
        "id": post_id,
        "author_id": user.user_id,
        "created_at": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "lang": "en" if kind == "english" else "ja",
        "text": " ".join([escaped, *dict.fromkeys(url["url"] for url in urls)]),
        "public_metrics": {
            "like_count": generator.randrange(2000),
            "retweet_count": generator.randrange(300),
            "reply_count": generator.randrange(50),
            "quote_count": generator.randrange(20),
        },
        "entities": {"urls": urls, "hashtags": [{"tag": "動物"}] if "#動物" in escaped else []},
        "possibly_sensitive": False,
    }
    if references:
        post["referenced_tweets"] = references
    if keys:
        post["attachments"] = {"media_keys": keys}
    if kind == "long":
        post["note_tweet"] = {"text": text + "。" + "とても長い話です。" * 20}
    return post


def make_photo(key: str, media: dict[str, dict[str, Any]]) -> bytes:
    """Make the JPEG of a key: smooth colours from the key, or someone else's at another quality."""
    original = media[key].get("copy_of", key)
    colours = np.random.default_rng(int(original.replace("_", ""))).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = Image.fromarray(colours).resize((96, 64), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=88 if original == key else 70)
    return file.getvalue()


class FakeX:
    """The server.

    Attributes:
        world: may be changed while it runs.
        url: of the API; photos are under it too.
        faults, photo_faults: one for each request, None for none; they may end.
        charged: what was sent off, whether or not it arrived.
        charged_posts: how often each post was charged, by id.
        requests: method and path with query of each, in order.
        leaks: requests that carried a token to where none belongs.
        redirect: where "302 redirect" leads.
        reset_time: what the fault "429" says instead of the time in 30 seconds.
        limit: requests in a window of 15 minutes, by kind of request.
        deleted: reasons by id, for compliance jobs; such posts and users are gone everywhere else too.
        before_answer, after_answer: called with the request's number.
    """

    def __init__(self, world: World, *, clock: Callable[[], float] = time.time, limit: int = 100_000) -> None:
        self.world = world
        self.clock = clock
        self.limit = limit
        self.token = TOKEN
        self.deleted: dict[str, str] = {}
        self.gone_photos: set[str] = set()
        self.redirect = ""
        self.lock = threading.Lock()
        self.jobs: dict[str, dict[str, Any]] = {}
        self.submissions: dict[str, list[str]] = {}
        self.before_answer: Callable[[int], None] = lambda number: None
        self.after_answer: Callable[[int], None] = lambda number: None
        self.reset()

        class Handler(_Handler):
            fake = self

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def reset(self, faults: Iterable[str | None] = (), photo_faults: Iterable[str | None] = ()) -> None:
        """Forget what was charged and set the faults to come."""
        self.faults, self.photo_faults = iter(faults), iter(photo_faults)
        self.charged = Reads()
        self.charged_posts: Counter[str] = Counter()
        self.requests: list[str] = []
        self.leaks: list[str] = []
        self.reset_time = ""
        self.used: Counter[tuple[str, int]] = Counter()
        self.tokens: set[str] = set()

    def __enter__(self) -> "FakeX":
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._server.shutdown()
        self._server.server_close()

    # What is charged

    def charge(self, kind: str, body: dict[str, Any]) -> None:
        data = body.get("data", [])
        media = len(body.get("includes", {}).get("media", []))
        if kind == "users":
            self.charged += Reads(users=len(data), media=media)
        else:
            self.charged += Reads(posts=len(data), media=media)
            self.charged_posts.update(post["id"] for post in data)

    # Answers: (status, body)

    def users_by(self, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        data, errors = [], []
        for name in query["usernames"].split(","):
            user = self.world.named(name)
            if user is None or user.state in ("gone", "suspended") or user.user_id in self.deleted:
                what = (
                    "User has been suspended"
                    if user and user.state == "suspended"
                    else "Could not find user with usernames"
                )
                errors.append(_problem("resource-not-found", "Not Found Error", f"{what}: [{name}].", name))
            else:
                data.append(self._user(user))
        return 200, _page(data, errors=errors)

    def timeline(self, user_id: str, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        size = int(query.get("max_results", 10))
        if not 5 <= size <= 100:
            return 400, _problem("invalid-request", "Invalid Request", f"max_results {size} is not from 5 to 100")
        token = query.get("pagination_token")
        if token is not None and token not in self.tokens:
            return 400, _problem("invalid-request", "Invalid Request", "The pagination_token is invalid")
        user = self.world.by_id.get(user_id)
        if user is None or user.state in ("gone", "suspended") or user_id in self.deleted:
            detail = f"Could not find user with id: [{user_id}]."
            return 200, {"errors": [_problem("resource-not-found", "Not Found Error", detail, user_id)]}
        if user.state == "protected":
            detail = f"Sorry, you are not authorized to see the user with id: [{user_id}]."
            return 200, {"errors": [_problem("not-authorized-for-resource", "Authorization Error", detail, user_id)]}
        excluded = query.get("exclude", "").split(",")
        reachable = user.posts[: 800 if "replies" in excluded else 3200]
        below = int(token.rpartition("-")[2]) if token else 1 << 63
        rows = [post for post in reachable if int(post["id"]) < below and _in_window(post, query)]
        page, rest = rows[:size], rows[size:]
        # As with X, what is left out makes the page shorter; it may even be empty and not the last.
        kept = [post for post in page if not _is_excluded(post, excluded) and post["id"] not in self.deleted]
        meta: dict[str, Any] = {"result_count": len(kept)}
        if kept:
            meta |= {"newest_id": kept[0]["id"], "oldest_id": kept[-1]["id"]}
        if rest:
            meta["next_token"] = f"{user_id}-{page[-1]['id']}"
            self.tokens.add(meta["next_token"])
        return 200, self._posts_page(kept, query, meta=meta)

    def posts(self, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        found, errors = [], []
        for post_id in query["ids"].split(","):
            post = self.world.posts.get(post_id)
            if post is None or post_id in self.deleted or post["author_id"] in self.deleted:
                detail = f"Could not find tweet with ids: [{post_id}]."
                errors.append(_problem("resource-not-found", "Not Found Error", detail, post_id))
            else:
                found.append(post)
        return 200, self._posts_page(found, query, errors=errors)

    def compliance(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        if method == "POST":
            wanted = json.loads(body)
            job_id = str(1_372_966_999_991_541_762 + len(self.jobs))
            stamp = "2026-01-06T18:40:40.000Z"
            self.jobs[job_id] = {
                "id": job_id,
                "type": wanted["type"],
                "name": wanted.get("name", ""),
                "status": "created",
                "created_at": stamp,
                "upload_url": f"{self.url}/upload/{job_id}?signature=secret",
                "upload_expires_at": stamp,
                "download_url": f"{self.url}/download/{job_id}?signature=secret",
                "download_expires_at": stamp,
            }
            return 200, {"data": self.jobs[job_id]}
        job = self.jobs.get(path.rpartition("/")[2])
        if job is None:
            return 404, _problem("resource-not-found", "Not Found Error", "There is no such job")
        answer = {"data": dict(job)}
        if job["status"] == "in_progress":
            job["status"] = "complete"  # the next look finds it done
        return 200, answer

    def upload(self, job_id: str, body: bytes) -> int:
        self.submissions[job_id] = body.decode().split()
        self.jobs[job_id]["status"] = "in_progress"
        return 200

    def download(self, job_id: str) -> bytes:
        rows = [
            {
                "id": one,
                "action": "delete",
                "created_at": "2024-01-10T12:00:00.000Z",
                "redacted_at": "2026-01-01T00:00:00.000Z",
                "reason": self.deleted[one],
            }
            for one in self.submissions[job_id]
            if one in self.deleted
        ]
        return b"".join(json.dumps(row).encode() + b"\n" for row in rows)

    def photo(self, name: str) -> bytes | None:
        key = name.partition(".")[0]
        if key not in self.world.media or key in self.gone_photos:
            return None
        return make_photo(key, self.world.media)

    def _user(self, user: FakeUser) -> dict[str, Any]:
        return {
            "id": user.user_id,
            "name": user.username,
            "username": user.username,
            "protected": user.state == "protected",
            "public_metrics": {"tweet_count": len(user.posts)},
        }

    def _posts_page(self, posts: list[dict[str, Any]], query: dict[str, str], **rest) -> dict[str, Any]:
        wanted = {"id", "text", *query.get("tweet.fields", "").split(",")}
        data = [{name: value for name, value in post.items() if name in wanted} for post in posts]
        includes = {}
        if "attachments.media_keys" in query.get("expansions", ""):
            keys = [key for post in posts for key in post.get("attachments", {}).get("media_keys", [])]
            fields = {"media_key", "type", *query.get("media.fields", "").split(",")}
            includes["media"] = [self._media(key, fields) for key in dict.fromkeys(keys)]
        return _page(data, includes=includes, **rest)

    def _media(self, key: str, fields: set[str]) -> dict[str, Any]:
        item = dict(self.world.media[key])
        if "name" in item:
            item["url"] = f"{self.url}/media/{item.pop('name')}"
        return {name: value for name, value in item.items() if name in fields}


def _page(data: list, *, includes: dict | None = None, errors: list | None = None, meta: dict | None = None) -> dict:
    """Return a body as X builds it: what is empty isn't there."""
    body = {"data": data, "includes": {k: v for k, v in (includes or {}).items() if v}, "errors": errors, "meta": meta}
    return {name: value for name, value in body.items() if value}


def _problem(kind: str, title: str, detail: str, value: str | None = None) -> dict[str, Any]:
    problem = {"title": title, "detail": detail, "type": f"https://api.twitter.com/2/problems/{kind}"}
    return problem | ({"value": value, "resource_id": value} if value else {})


def _in_window(post: dict[str, Any], query: dict[str, str]) -> bool:
    number, moment = int(post["id"]), post["created_at"]
    if "since_id" in query and number <= int(query["since_id"]):
        return False
    if "until_id" in query and number >= int(query["until_id"]):
        return False
    # Times of one form compare as text.
    if "start_time" in query and "since_id" not in query and moment < query["start_time"].replace("Z", ".000Z"):
        return False
    return not ("end_time" in query and moment >= query["end_time"].replace("Z", ".000Z"))


def _is_excluded(post: dict[str, Any], excluded: list[str]) -> bool:
    kinds = {reference["type"] for reference in post.get("referenced_tweets", [])}
    return ("replied_to" in kinds and "replies" in excluded) or ("retweeted" in kinds and "retweets" in excluded)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_) -> None:
        """A client that was killed leaves broken connections behind; that is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    fake: FakeX
    protocol_version = "HTTP/1.1"
    # Else the last piece of every answer waits for the client's acknowledgement.
    disable_nagle_algorithm = True

    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def _answer(self, method: str) -> None:
        fake = self.fake
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        with fake.lock:
            fake.requests.append(f"{method} {self.path}")
            number = len(fake.requests)
        fake.before_answer(number)
        try:
            if parts.path.startswith("/2/"):
                self._answer_api(method, parts.path, query, sent)
            else:
                self._answer_file(method, parts.path, sent)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        fake.after_answer(number)

    def _answer_api(self, method: str, path: str, query: dict[str, str], sent: bytes) -> None:
        fake = self.fake
        with fake.lock:
            kind = _kind(path)
            fault = next(fake.faults, None)
            window = int(fake.clock() // 900)
            reset = (window + 1) * 900
            remaining = fake.limit - fake.used[kind, window]
            if remaining > 0 and fault not in FREE_FAULTS:
                fake.used[kind, window] += 1
                remaining -= 1
                exhausted = False
            else:
                exhausted = remaining <= 0
            if self.headers.get("Authorization") != f"Bearer {fake.token}":
                status, body = (
                    401,
                    {"title": "Unauthorized", "type": "about:blank", "status": 401, "detail": "Unauthorized"},
                )
            elif exhausted or fault in ("429", "429 bare"):
                status, body = 429, {"title": "Too Many Requests", "detail": "Too Many Requests", "type": "about:blank"}
            elif fault and fault[0].isdigit():
                status = int(fault.split()[0])
                body = {"title": "Error", "detail": f"Answer {status}", "type": "about:blank"}
            elif fault and fault.startswith("problem "):
                status, title = int(fault.split()[1]), fault.split()[2]
                body = {
                    "title": title,
                    "detail": f"{title} at X",
                    "type": f"https://api.twitter.com/2/problems/{title}",
                }
            else:
                status, body = self._route(kind, method, path, query, sent)
                if status == 200 and kind != "compliance":
                    fake.charge(kind, body)
        if fault == "partial errors" and status == 200:
            detail = "Could not find tweet with referenced_tweets.id: [1]."
            body.setdefault("errors", []).append(_problem("resource-not-found", "Not Found Error", detail, "1"))
        data = json.dumps(body, ensure_ascii=False).encode()
        if status == 200 and fault == "malformed":
            data = data[: len(data) // 2]
        elif status == 200 and fault == "html":
            data = b"<html><body>We are over capacity</body></html>"
        elif status == 200 and fault == "no object":
            data = b"[1, 2]"
        elif status == 200 and fault == "odd shape":
            data = b'{"data": [{"id": "rows"}], "meta": {}, "includes": {"media": ["one"]}}'
        elif status == 200 and fault == "one row":
            data = b'{"data": {"id": "1"}}'
        elif status == 200 and fault == "huge id":
            data = b'{"data": [{"id": "%s"}]}' % (b"9" * 5000)
        limits = {
            "x-rate-limit-limit": fake.limit,
            "x-rate-limit-remaining": max(remaining, 0),
            "x-rate-limit-reset": reset,
        }
        if fault and fault.endswith("redirect"):
            limits["Location"] = fake.redirect
        if fault == "429":
            reset = fake.reset_time or int(fake.clock()) + 30
            limits |= {"x-rate-limit-remaining": 0, "x-rate-limit-reset": reset}
        self._send(status, data, {} if fault == "429 bare" else limits, fault, "application/json; charset=utf-8")

    def _route(self, kind: str, method: str, path: str, query: dict[str, str], sent: bytes) -> tuple[int, dict]:
        if kind == "users":
            return self.fake.users_by(query)
        if kind == "timeline":
            return self.fake.timeline(path.split("/")[3], query)
        if kind == "posts":
            return self.fake.posts(query)
        if kind == "compliance":
            return self.fake.compliance(method, path, sent)
        return 404, _problem("resource-not-found", "Not Found Error", f"There is no {path}")

    def _answer_file(self, method: str, path: str, sent: bytes) -> None:
        fake = self.fake
        with fake.lock:
            fault = next(fake.photo_faults, None) if path.startswith("/media/") else None
            if any(fake.token in str(value) for value in self.headers.values()):
                fake.leaks.append(self.path)
        place, name = path.split("/")[1:3]
        if fault and fault[0].isdigit():
            place = {"Location": fake.redirect} if fault.endswith("redirect") else {}
            self._send(int(fault.split()[0]), b"", place, None, "text/plain")
        elif place == "media":
            data = fake.photo(name)
            self._send(404 if data is None else 200, data or b"", {}, fault, "image/jpeg")
        elif place == "upload" and method == "PUT":
            self._send(fake.upload(name, sent), b"", {}, None, "text/plain")
        elif place == "download":
            self._send(200, fake.download(name), {}, None, "application/json")
        else:
            self._send(404, b"", {}, None, "text/plain")

    def _send(self, status: int, data: bytes, headers: dict[str, Any], fault: str | None, kind: str) -> None:
        if fault == "cut":
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        if fault == "cut in the body":
            self.close_connection = True
            data = data[: len(data) // 2]
        self.wfile.write(data)


def _kind(path: str) -> str:
    if path == "/2/users/by":
        return "users"
    if path.startswith("/2/users/") and path.endswith("/tweets"):
        return "timeline"
    if path == "/2/tweets":
        return "posts"
    return "compliance" if path.startswith("/2/compliance/jobs") else "unknown"
