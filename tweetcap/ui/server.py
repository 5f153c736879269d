"""Serves the writer's page: its paths and limits, the waiting line, uploads, the API, MCP and /health."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

import tweetcap
from tweetcap.data.photo import MAX_BYTES
from tweetcap.ui import page as writers_page
from tweetcap.ui.api import ENDPOINTS, tool_answer
from tweetcap.ui.doors import Doors
from tweetcap.ui.feedback import Feedback
from tweetcap.ui.identity import identify
from tweetcap.ui.uploads import Uploads
from tweetcap.ui.waiting import MAX_WAITING, WaitingLine

MAX_SESSIONS = 200  # whose state gradio remembers, some 30 kB each; the page keeps its own in the browser
STUCK_SECONDS = 120  # that the first in the line has waited

KIB = 2**10
LIMITS = {
    r"/(config|theme\.css|favicon\.ico|robots\.txt|manifest\.json|health)?": 0,
    r"/(assets|static|svelte)/.+": 0,
    r"/gradio_api/(info|openapi\.json|app_id|startup-events|heartbeat/[\w-]+|queue/data|upload_progress)/?": 0,
    r"/gradio_api/file=(?!\w+:).+": 0,  # an address instead of a path would be fetched
    r"/gradio_api/upload/?": MAX_BYTES + 64 * KIB,
    # A photo may come as base64 in these.
    rf"/gradio_api/(queue/join|call/(v2/)?({'|'.join(ENDPOINTS)})(/\w+)?)": 8 * KIB**2,
    r"/gradio_api/mcp(/|/schema|/http/?)?": 8 * KIB**2,
    r"/gradio_api/(component_server|cancel|reset)/?": 64 * KIB,
}
# Uploads are anybody's files: nothing in them may run, and no proxy may keep them.
HEADERS = {
    r"/.*": [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")],
    r"/gradio_api/file=.+": [
        (b"content-security-policy", b"default-src 'none'; sandbox"),
        (b"cache-control", b"private, no-store"),
        (b"x-robots-tag", b"noindex"),
    ],
}


def serve_writer(writer, host: str | None = None, port: int | None = None, feedback: Feedback | None = None) -> None:
    """Serve a writer's page until the process is interrupted.

    Raises:
        OSError: the port is taken.
    """
    launch_page(writers_page.build_page(writer, feedback), host, port, writer=writer)


def launch_page(
    page: gr.Blocks, host: str | None = None, port: int | None = None, *, writer=None, **options: Any
) -> tuple[Any, str, str | None]:
    """Serve the page of a writer, whom /health names; other options go to `gr.Blocks.launch`.

    None leaves host and port to GRADIO_SERVER_NAME and GRADIO_SERVER_PORT, as a Space needs.

    Raises:
        OSError: the port is taken.
    """
    page._queue = WaitingLine(page, MAX_WAITING)
    uploads = Uploads()

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(uploads.keep_sweeping())
        yield
        sweeping.cancel()

    wait = not options.pop("prevent_thread_lock", False)
    served = page.launch(
        server_name=host,
        server_port=port,
        prevent_thread_lock=True,
        share=False,
        ssr_mode=False,
        pwa=False,
        max_file_size=MAX_BYTES,
        state_session_capacity=MAX_SESSIONS,
        enable_monitoring=False,
        run_history=False,  # it would keep every photo in the visitor's browser
        footer_links=["api"],
        mcp_server=True,
        theme=writers_page.THEME,
        css=writers_page.CSS,
        head=writers_page.HEAD,
        i18n=writers_page.I18N,
        app_kwargs={
            "routes": [
                Route("/health", health(page, writer)),
                Route("/gradio_api/upload", uploads.take, methods=["POST"]),
                Route("/gradio_api/upload_progress", no_progress),
            ],
            "middleware": [Middleware(Doors, limits=LIMITS, headers=HEADERS)],
            "exception_handlers": {TypeError: name_the_argument},
            "lifespan": lifespan,
            "openapi_url": None,
        },
        **options,
    )
    page.mcp_server_obj.postprocess_output_data = tool_answer
    if wait:
        page.block_thread()
    return served


def health(page: gr.Blocks, writer) -> Callable[[Request], Response]:
    """Return what answers GET /health.

    status: `ok`; `busy`, when a visitor would be turned away; `stuck`, with HTTP 503, when the line doesn't move.
    """
    started = time.monotonic()
    who = identify(writer)

    def answer(_: Request) -> Response:
        line = page._queue
        status = "busy" if line.is_full() else "ok"
        if line.stopped or line.longest_wait() > STUCK_SECONDS:
            status = "stuck"
        content = {
            "status": status,
            **who,
            "version": tweetcap.__version__,
            "uptime_seconds": round(time.monotonic() - started),
            "waiting": len(line),
            "max_waiting": line.max_size,
        }
        return JSONResponse(content, 503 if status == "stuck" else 200, {"Cache-Control": "no-store"})

    return answer


def no_progress(_: Request) -> Response:
    """Tell gradio's page that there is nothing to watch of its upload; gradio remembers all that are ever asked for."""
    return Response('data: {"msg": "done"}\n\n', media_type="text/event-stream")


def name_the_argument(request: Request, error: TypeError) -> Response:
    """Answer a call by names whose names are wrong; gradio's client code says which in a TypeError."""
    if not request.url.path.startswith("/gradio_api/call/v2/"):
        raise error
    return PlainTextResponse(str(error), 400)
