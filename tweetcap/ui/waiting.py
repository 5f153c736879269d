"""The waiting line before the writer: bounded, first come first served, and saying where one stands."""

import time
from typing import Any

from fastapi import HTTPException
from gradio.data_classes import PredictBodyInternal
from gradio.queueing import Queue
from gradio.server_messages import LogMessage
from gradio.utils import LRUCache
from gradio_client.utils import is_http_url_like
from starlette.requests import Request

from tweetcap.ui.doors import prefers_japanese
from tweetcap.ui.texts import TEXTS

# For every listener that runs the writer: one at a time, since one already keeps all cores busy.
WRITER_QUEUE = {"concurrency_id": "writer", "concurrency_limit": 1}
MAX_WAITING = 32  # at half a second each, the last one waits for a quarter of a minute
MAX_WAIT_SECONDS = 60  # that are expected; on a slow machine the line is full earlier
WORTH_SAYING = 2  # people before one; with fewer, the answer is there before the sentence is read
MAX_DEPTH = 16  # of lists and objects inside each other in a request
MAX_SESSION = 64  # characters of the name that a browser gives its session
REMEMBERED = 2000  # sessions


class WaitingLine(Queue):
    """gradio's queue with sentences of our own, and without the parts that grow."""

    def __init__(self, blocks, max_size: int) -> None:
        super().__init__(
            live_updates=True,
            concurrency_count=blocks.max_threads,
            update_intervals=1,
            max_size=max_size,
            blocks=blocks,
        )
        # As gradio has it (6.31), each session that ever asked for something leaves an entry here for good.
        self.pending_event_ids_session = LRUCache(REMEMBERED)

    def compute_analytics_summary(self, records):
        """Do nothing: gradio would go through a table of the last 10,000 events after each event."""
        return {}

    def ahead(self) -> int:
        """Return how many are waiting for the writer or being served."""
        line = self.event_queue_per_concurrency_id.get(WRITER_QUEUE["concurrency_id"])
        return len(line.queue) + line.current_concurrency if line else 0

    def expected_wait(self) -> float:
        """Return the seconds until whoever comes now is served, by what such requests took so far; 0 at first."""
        group = WRITER_QUEUE["concurrency_id"]
        took = [times for fn, times in self.process_time_per_fn.items() if fn.concurrency_id == group]
        answered = sum(times.count for times in took)
        return self.ahead() * sum(times.process_time for times in took) / answered if answered else 0.0

    def is_full(self) -> bool:
        return len(self) >= self.max_size or self.expected_wait() > MAX_WAIT_SECONDS

    def longest_wait(self) -> float:
        """Return the seconds that the first in any line has waited."""
        firsts = [line.queue[0].enqueue_time for line in self.event_queue_per_concurrency_id.values() if line.queue]
        return time.monotonic() - min(firsts) if firsts else 0.0

    async def push(self, body: PredictBodyInternal, request: Request, username: str | None):
        check_request(body)
        say = TEXTS["ja" if prefers_japanese(request) else "en"]
        if self.is_full():
            # Of an answer 503 gradio's page shows a sentence of its own; its clients know only that one.
            status = 429 if request.headers.get("x-gradio-user") == "app" else 503
            raise HTTPException(status, say["busy"].format(waiting=len(self)), {"Retry-After": "10"})
        ahead, seconds = self.ahead(), round(self.expected_wait())
        success, event_id, state = await super().push(body, request, username)
        event = self.event_ids_to_events.get(event_id) if success else None
        if event and event.concurrency_id == WRITER_QUEUE["concurrency_id"] and ahead >= WORTH_SAYING:
            sentence = say["wait_seconds" if seconds else "wait"].format(ahead=ahead, seconds=seconds)
            self.send_message(event, LogMessage(log=sentence, level="info", title=say["please_wait"]))
        return success, event_id, state


def check_request(body: PredictBodyInternal) -> None:
    """Refuse what gradio would follow too far.

    Wherever a request names a file, gradio 6.31 fetches it if it is an address: any public one, of any length.

    Raises:
        HTTPException: in one sentence.
    """
    if body.session_hash is not None and len(body.session_hash) > MAX_SESSION:
        raise HTTPException(400, f"session_hash is too long; {MAX_SESSION} characters are enough.")
    level: list[Any] = [body.data]
    for _ in range(MAX_DEPTH):
        level = [part for value in level for part in parts(value)]
        if not level:
            return
        for value in level:
            if isinstance(value, dict) and is_http_url_like(str(value.get("path"))):
                raise HTTPException(
                    400, "Addresses are not fetched: upload the photo and name what the upload returned."
                )
    raise HTTPException(400, f"The request is nested more than {MAX_DEPTH} deep.")


def parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
