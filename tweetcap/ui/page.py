"""The writer's page: a photo in, tweets out, as cards to share.

`build_page` takes any writer, so that tests and other checkpoints use the same page; `launch_page` of server.py serves
it. The photo and the controls are gradio's own; the cards are one gr.HTML, whose script cards.js keeps what a visitor
does with them (edits, likes) and shows the messages of answers.py.
"""

import re
from pathlib import Path

import gradio as gr

from tweetcap.ui.answers import Answers
from tweetcap.ui.api import add_endpoints
from tweetcap.ui.identity import model_name
from tweetcap.ui.texts import TEXTS
from tweetcap.ui.theme import CSS, HEAD, THEME
from tweetcap.ui.uploads import KEEP_SECONDS, MAX_COUNT, MAX_SEED, SWEEP_SECONDS
from tweetcap.ui.waiting import WRITER_QUEUE
from tweetcap.write.filters import EMOJI, HEAVY, MAX_WEIGHTED_LENGTH, URL, URL_WEIGHT
from tweetcap.write.settings import DEFAULTS, RANGES

__all__ = ["CSS", "HEAD", "I18N", "THEME", "build_page"]

HERE = Path(__file__).parent
EXAMPLES = ("lion.jpg", "cheetah1.jpg")  # of gradio's package, so that they work offline

I18N = gr.I18n(
    **{
        language: {key: text for key, text in texts.items() if isinstance(text, str)}
        | {"footer": texts["footer"].format(minutes=KEEP_SECONDS // 60)}
        for language, texts in TEXTS.items()
    }
)

# (temperature, guidance, top_p)
PRESETS = {
    "preset_usual": (DEFAULTS.temperature, DEFAULTS.guidance, DEFAULTS.top_p),
    "preset_sober": (0.4, 1.0, 0.8),
    "preset_faithful": (0.7, 1.5, 0.9),
    "preset_wild": (1.3, 0.3, 0.95),
}

# How the page's script learns that a request failed, of which gradio itself only shows a message.
TELL_FAILURE = "() => window.dispatchEvent(new CustomEvent('tweetcap-failed', {{detail: '{}'}}))"


def build_page(writer, feedback=None) -> gr.Blocks:
    """Return the page of a writer.

    Args:
        writer: a `tweetcap.TweetWriter`, or anything with its `stream`, `write`, `describe`, `explain` and `tones`.
        feedback: takes `like(record, session)` and `report(record, session)`; without one, nothing is kept and nothing
            can be reported.
    """
    answers = Answers(writer)
    # Without preprocess=False gradio opens the upload with Pillow, before the writer's own checks.
    listening = {"preprocess": False, "api_visibility": "private", **WRITER_QUEUE}

    # Statistics would be sent to gradio's servers; delete_cache is (how often, from what age) in seconds.
    with gr.Blocks(title="tweetcap", analytics_enabled=False, delete_cache=(SWEEP_SECONDS, KEEP_SECONDS)) as page:
        add_endpoints(writer)  # first, so that no listener takes its endpoints' names
        gr.Markdown(I18N("introduction"), elem_classes="introduction")
        with gr.Row(elem_classes="desk"):
            with gr.Column(elem_classes="photo-column"):
                photo = gr.Image(
                    label=I18N("photo"),
                    type="filepath",
                    image_mode=None,
                    sources=["upload", "clipboard", "webcam"],
                    buttons=["fullscreen"],
                    elem_id="photo",
                )
                # gr.Examples is this with a listener that goes round the queue.
                samples = [[path] for path in example_photos()]
                examples = gr.Dataset(components=[photo], samples=samples, label=I18N("examples"), type="index")
            with gr.Column(elem_classes="cards-column"):
                cards = gr.HTML(
                    None,
                    elem_id="cards",
                    html_template='<div class="show"></div>',
                    css_template=read("cards.css"),
                    js_on_load=read("why.js") + read("cards.js"),
                    apply_default_css=False,
                    texts=TEXTS,
                    length_on_x=length_on_x(),
                    can_report=feedback is not None,
                )
            with gr.Column(elem_classes="controls-column"):
                with gr.Row(elem_classes="presets"):
                    presets = {name: gr.Button(I18N(name), size="md", min_width=64) for name in PRESETS}
                tone = gr.Radio(
                    [(I18N("any_tone"), ""), *((I18N(f"tone_{name}"), name) for name in writer.tones)],
                    value="",
                    label=I18N("tone"),
                )
                count = gr.Slider(1, MAX_COUNT, DEFAULTS.count, step=1, label=I18N("count"))
                temperature = gr.Slider(
                    *RANGES["temperature"], DEFAULTS.temperature, step=0.05, label=I18N("temperature")
                )
                guidance = gr.Slider(*RANGES["guidance"], DEFAULTS.guidance, step=0.05, label=I18N("guidance"))
                with gr.Accordion(I18N("details"), open=False):
                    top_p = gr.Slider(
                        *RANGES["top_p"], DEFAULTS.top_p, step=0.05, label=I18N("top_p"), info=I18N("top_p_info")
                    )
                    seed = gr.Number(None, label=I18N("seed"), info=I18N("seed_info"), precision=0)
                    dice = gr.Button(I18N("dice"))
                write = gr.Button(I18N("write"), variant="primary", size="lg")
                compare = gr.Button(I18N("compare"), size="lg")
        gr.Markdown(I18N("footer"), elem_classes="footer")
        if feedback is not None:
            gr.Markdown(I18N("footer_feedback"), elem_classes="footer")

        controls = [photo, tone, count, temperature, guidance, top_p, seed]
        showing = {"outputs": cards, "show_progress": "minimal", "trigger_mode": "always_last", **listening}

        def write_if_a_photo(upload, *values):
            if upload:
                yield from answers.write(upload, *values)
            else:
                yield None

        def load_example(index):
            return examples.samples[index][0]["path"]  # gradio's copy, among the uploads

        examples.click(load_example, examples, photo, show_progress="hidden", api_visibility="private")
        shows = [
            gr.on(write.click, answers.write, controls, **showing),
            gr.on(photo.change, write_if_a_photo, controls, **showing),
            gr.on(compare.click, answers.compare, [photo, tone, guidance, top_p, seed], **showing),
        ]
        for name, values in PRESETS.items():
            moved = presets[name].click(
                None, None, [temperature, guidance, top_p], js=f"() => {list(values)}", api_visibility="private"
            )
            shows.append(moved.then(write_if_a_photo, controls, **showing))
        for show in shows:
            show.failure(None, js=TELL_FAILURE.format("show"), api_visibility="private")

        def reroll(upload, event: gr.EventData):
            return answers.reroll(upload, event._data)

        def more(upload, event: gr.EventData):
            return answers.more(upload, event._data)

        def why(upload, event: gr.EventData):
            return answers.why(upload, event._data)

        for event, answer in ((cards.reroll, reroll), (cards.more, more), (cards.why, why)):
            asked = event(answer, photo, cards, show_progress="minimal", trigger_mode="multiple", **listening)
            asked.failure(None, js=TELL_FAILURE.format("answer"), api_visibility="private")

        dice.click(None, None, seed, js=f"() => Math.floor(Math.random() * {MAX_SEED + 1})", api_visibility="private")

        def keep_seed(event: gr.EventData):
            return event._data["seed"]

        cards.keep_seed(keep_seed, None, seed, show_progress="hidden", api_visibility="private")

        if feedback is not None:
            model = model_name(writer)

            def like(event: gr.EventData, request: gr.Request):
                feedback.like(event._data | {"model": model}, request.session_hash)

            def report(event: gr.EventData, request: gr.Request):
                feedback.report(event._data | {"model": model}, request.session_hash)

            cards.like(like, trigger_mode="multiple", api_visibility="private")
            cards.report(report, trigger_mode="multiple", api_visibility="private")
    return page


def example_photos() -> list[str]:
    """Return the paths of photos that come with gradio, so that they work offline."""
    return [str(Path(gr.__file__).parent / "media_assets" / "images" / name) for name in EXAMPLES]


def length_on_x() -> dict[str, str | int]:
    """Return what `weighted_length` counts by, its patterns in JavaScript's spelling."""

    def spelled(pattern: re.Pattern) -> str:
        return re.sub(r"\\U0*([0-9a-f]+)", r"\\u{\1}", pattern.pattern)

    return {
        "heavy": spelled(HEAVY),
        "emoji": spelled(EMOJI),
        "url": spelled(URL),
        "url_weight": URL_WEIGHT,
        "limit": MAX_WEIGHTED_LENGTH,
    }


def read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
