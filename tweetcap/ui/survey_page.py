"""The questionnaire's page: consent, one item after the other, thanks.

`build_survey` makes the page of a study's store; `launch_survey` serves it. The page is one `gr.HTML` whose script,
`survey.js`, calls the three functions below: gradio's own radio buttons can't be reached with the arrow keys and name
no group to a screen reader (6.31), and its page reloads itself when the server was away, which loses what is ticked.

Blindness is kept here: what a browser gets of an item is its place in the rater's order, a photo under a random name
and the text. No letter, id or kind goes out, and no file but a study's photos can be fetched.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tweetcap.evaluate.survey.ratings import Progress, RatingStore, SurveyError
from tweetcap.evaluate.survey.study import PHOTOS_FOLDER, Study
from tweetcap.ui.doors import Doors

MAX_BODY = 64 * 1024  # bytes of a request; an answer has some hundred
MAX_THREADS = 64  # raters served in the same moment
LIMITS = {
    r"/(config|theme\.css|favicon\.ico|robots\.txt|manifest\.json)?": 0,
    r"/(assets|static|svelte|photos)/.+": 0,
    r"/gradio_api/(component_server|startup-events|app_id|heartbeat/[\w-]+)/?": MAX_BODY,
}
# The address has the rater's link in it: it is neither indexed nor passed on.
HEADERS = {r"/.*": [(b"referrer-policy", b"no-referrer"), (b"x-robots-tag", b"noindex")]}
# gradio's margins take a quarter of a phone's width. In the head, since launch's css reaches components only.
HEAD = "<style>@media (max-width: 640px) { .gradio-container .main.app { padding: 8px 4px; } }</style>"


def build_survey(store: RatingStore) -> gr.Blocks:
    """Return the page of a study."""
    study = store.study

    def open_survey(data):
        token = field(data, "token")
        if token is not None:
            try:
                return {"known": True, **view(study, store.show(token))}
            except SurveyError as error:
                if error.reason != "unknown":
                    return {"screen": error.reason}
        try:
            store.check_admission()
        except SurveyError as error:
            return {"screen": error.reason}
        return {"screen": "start"}

    def start_survey(data):
        try:
            token = store.start(field(data, "language"), field(data, "token"))
            return {"token": token, **view(study, store.show(token))}
        except SurveyError as error:
            return {"problem": "refused"} if error.reason == "refused" else {"screen": error.reason}

    def give_answer(data):
        token = field(data, "token")
        try:
            taken = store.answer(token, field(data, "position"), field(data, "values"), field(data, "language"))
            return {"taken": taken, **view(study, store.show(token))}
        except SurveyError as error:
            if error.reason == "closed":
                return {"screen": "closed"}
            return {"problem": error.reason, "wait": error.wait}

    here = Path(__file__)
    with gr.Blocks(title=study.title["ja"], analytics_enabled=False) as page:
        gr.HTML(
            html_template='<div class="survey"></div>',
            css_template=here.with_name("survey.css").read_text(encoding="utf-8"),
            js_on_load=here.with_name("survey.js").read_text(encoding="utf-8"),
            apply_default_css=False,
            server_functions=[open_survey, start_survey, give_answer],
            survey=introduction(study),
        )
    return page


def introduction(study: Study) -> dict[str, Any]:
    """Return what every visitor may know of a study."""
    items = -(-len(study.items) // study.blocks)
    return {
        "study": study.study,
        "mode": study.mode,
        "title": study.title,
        "consent": study.consent,
        "questions": [{"name": question.name, "ja": question.ja, "en": question.en} for question in study.questions],
        "tasks": items + len(study.gold) + len(study.attention),
        "minimum_seconds": study.minimum_seconds,
    }


def view(study: Study, progress: Progress) -> dict[str, Any]:
    """Return what the browser shows, and nothing by which it could tell the systems apart."""
    task = progress.task
    if task is None:
        return {"screen": "done", "code": progress.code}
    item = study.find_item(task.kind, task.item)
    following = progress.following and study.find_item(progress.following.kind, progress.following.item)
    shown = {"instruction": task.shown[0]} if task.kind == "attention" else {}
    return shown | {
        "screen": "task",
        "position": progress.position,
        "total": progress.total,
        "photo": f"photos/{item.photo}",
        "width": item.width,
        "height": item.height,
        "texts": [] if shown else [item.texts[key] for key in task.shown],
        "next_photo": following and f"photos/{following.photo}",
    }


def field(data: Any, name: str) -> Any:
    """Return a field of what the browser sent, which can be anything; the store checks the value."""
    return data.get(name) if isinstance(data, dict) else None


def launch_survey(folder: str | Path, host: str | None = None, port: int | None = None, **options: Any) -> gr.Blocks:
    """Serve the study in a folder; other options go to `gr.Blocks.launch`.

    None leaves host and port to GRADIO_SERVER_NAME and GRADIO_SERVER_PORT, as a Space needs.

    Raises:
        ValueError: the folder holds no study.
        OSError: the port is taken.
    """
    store = RatingStore(folder)
    page = build_survey(store)
    page.launch(
        server_name=host,
        server_port=port,
        share=False,
        ssr_mode=False,
        max_threads=MAX_THREADS,
        max_file_size=1,  # nothing can be uploaded
        enable_monitoring=False,
        run_history=False,
        footer_links=[],
        head=HEAD,
        app_kwargs={
            "routes": [Route("/photos/{name}", photo_server(Path(folder) / PHOTOS_FOLDER, store.study))],
            "middleware": [Middleware(Doors, limits=LIMITS, headers=HEADERS)],
            "openapi_url": None,
        },
        **options,
    )
    return page


def photo_server(folder: Path, study: Study) -> Callable[[Request], Response]:
    """Return what answers requests for photos: the study's by their names, nothing else of any folder."""
    names = {item.photo for item in (*study.items, *study.gold)}

    def serve_photo(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in names:
            return PlainTextResponse("Not Found", 404)
        # Not as a file: its date would tell in which order the photos were copied.
        photo = (folder / name).read_bytes()
        return Response(photo, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=86400"})

    return serve_photo
