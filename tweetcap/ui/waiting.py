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

# For every listener that runs the writer: one at a time, since one already keeps all cores busy.
WRITER_QUEUE = {"concurrency_id": "writer", "concurrency_limit": 1}
MAX_WAITING = 32  # at half a second each, the last one waits for a quarter of a minute
WORTH_SAYING = 2  # people before one; with fewer, the answer is there before the sentence is read
MAX_DEPTH = 16  # of lists and objects inside each other in a request
MAX_SESSION = 64  # characters of the name that a browser gives its session
REMEMBERED = 2000  # sessions

BUSY = {
    "ja": "ただいま混み合っています。{waiting}人が待っているので、少ししてからもう一度お試しください。",
    "en": "Busy: {waiting} are waiting already. Please try again in a moment.",
}
PLEASE_WAIT = {"ja": "お待ちください", "en": "Please wait"}
WAIT = {"ja": "混み合っています。あなたの前に{ahead}人います。", "en": "Busy: {ahead} before you."}


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

    def longest_wait(self) -> float:
        """Return the seconds that the first in any line has waited."""
        firsts = [line.queue[0].enqueue_time for line in self.event_queue_per_concurrency_id.values() if line.queue]
        return time.monotonic() - min(firsts) if firsts else 0.0

    async def push(self, body: PredictBodyInternal, request: Request, username: str | None):
        check_request(body)
        language = "ja" if prefers_japanese(request) else "en"
        if len(self) >= self.max_size:
            # Of an answer 503 gradio's page shows a sentence of its own; its clients know only that one.
            status = 429 if request.headers.get("x-gradio-user") == "app" else 503
            raise HTTPException(status, BUSY[language].format(waiting=len(self)), {"Retry-After": "10"})
        ahead = self.ahead()
        success, event_id, state = await super().push(body, request, username)
        event = self.event_ids_to_events.get(event_id) if success else None
        if event and event.concurrency_id == WRITER_QUEUE["concurrency_id"] and ahead >= WORTH_SAYING:
            sentence = WAIT[language].format(ahead=ahead)
            self.send_message(event, LogMessage(log=sentence, level="info", title=PLEASE_WAIT[language]))
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
