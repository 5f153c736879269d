"""The writer's page: a photo in, tweets out.

`build_page` takes any writer, so that tests and other checkpoints use the same page; `launch_page` serves it.
"""

import html
import secrets
from importlib.resources import files
from pathlib import Path
from typing import Any

import gradio as gr

from tweetcap.data.photo import MAX_BYTES
from tweetcap.write.settings import DEFAULTS, RANGES

ANY_TONE = "おまかせ"
MAX_COUNT = 10  # more tweets than this are a list to scroll, not a choice
MAX_SEED = 2**32 - 1
HOUR = 3600

# gr.HTML fills in {{…}} first and then runs every ${…} as JavaScript, those in the filled-in text too. So the
# tweets go in by ${…}, the last step, and are escaped there; by {{text}} a tweet could run code.
TWEETS_TEMPLATE = """<ol class="tweets">${value.map(({tone, text}) => {
    const escape = part => part.replace(/[&<>"']/g, sign => '&#' + sign.charCodeAt(0) + ';');
    return '<li><span class="tone">' + escape(tone) + '</span><p lang="ja">' + escape(text)
        + '</p><button type="button">コピー</button></li>';
}).join('')}</ol>"""
TWEETS_CSS = """
.tweets { list-style: none; margin: 1rem 0 0; padding: 0; display: grid; gap: 0.75rem; }
.tweets li { display: grid; grid-template-columns: 1fr auto; gap: 0.25rem 1rem; align-items: center;
    border: 1px solid var(--border-color-primary); border-radius: var(--radius-lg); padding: 0.75rem 1rem; }
.tweets .tone { grid-column: 1 / -1; font-size: var(--text-sm); color: var(--body-text-color-subdued); }
.tweets p { margin: 0; font-size: var(--text-lg); white-space: pre-wrap; overflow-wrap: anywhere; }
.tweets button { border: 1px solid var(--border-color-primary); border-radius: var(--radius-md);
    padding: 0.25rem 0.75rem; }
"""
COPY_ON_CLICK = """
element.addEventListener('click', async (event) => {
    const button = event.target.closest('.tweets button');
    if (!button) return;
    await navigator.clipboard.writeText(button.parentElement.querySelector('p').textContent);
    button.textContent = 'コピーしました';
    setTimeout(() => { button.textContent = 'コピー'; }, 1500);
});
"""

INTRODUCTION = """
# つぶやき写真帖 tweetcap
どうぶつの写真を入れると、その写真につけたくなるつぶやきを書きます。
"""
FOOTER = """
文章はすべて小さなニューラルネットワーク(CNN-LSTM)が書いたもので、写真の内容と合わないことがあります。
付属のモデルは、日本語の話し言葉、写真の説明文、このプロジェクトのために書かれたつぶやきで学習しました。X(Twitter)の投稿は使っていません。
写真は学習に使わず、アップロードから1〜2時間で消します。
"""


def build_page(writer) -> gr.Blocks:
    """Return the page of a writer.

    Args:
        writer: a `tweetcap.TweetWriter`, or anything with its `write`, `describe` and `tones`.
    """

    def write(upload, tone, count, temperature, guidance, top_p, seed):
        photo_bytes = read_upload(upload, photo.GRADIO_CACHE)
        settings = {
            "count": number(count, "count", "本数", MAX_COUNT),
            "temperature": number(temperature, "temperature", "まじめ ↔ 暴走"),
            "guidance": number(guidance, "guidance", "自由 ↔ 写真に忠実"),
            "top_p": number(top_p, "top_p", "top_p"),
        }
        seed = secrets.randbelow(MAX_SEED + 1) if seed in (None, "") else seed_number(seed)
        try:
            description = writer.describe(photo_bytes)
            tone = None if tone == ANY_TONE else tone
            tweets = writer.write(photo_bytes, tone=tone, seed=seed, **settings)
        except ValueError as error:  # a PhotoError is one too; each is a sentence for the reader
            raise refusal(str(error).replace("The photo in the given bytes", "The photo")) from None
        if not tweets:
            raise refusal("つぶやきが浮かびませんでした。もう一度お試しください。")
        return description, [{"text": tweet.text, "tone": tweet.tone} for tweet in tweets], str(seed)

    # Statistics would be sent to gradio's servers; delete_cache is (how often, from what age) in seconds.
    with gr.Blocks(title="tweetcap", analytics_enabled=False, delete_cache=(HOUR, HOUR)) as page:
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column():
                photo = gr.Image(
                    label="写真",
                    type="filepath",
                    image_mode=None,
                    sources=["upload", "clipboard", "webcam"],
                    buttons=["fullscreen"],
                    height=360,
                )
                examples = gr.Examples(example_photos(), photo, label="写真の例", cache_examples=False)
                tone = gr.Radio([ANY_TONE, *writer.tones], value=ANY_TONE, label="トーン")
                count = gr.Slider(1, MAX_COUNT, DEFAULTS.count, step=1, label="本数")
                temperature = gr.Slider(*RANGES["temperature"], DEFAULTS.temperature, step=0.05, label="まじめ ↔ 暴走")
                guidance = gr.Slider(*RANGES["guidance"], DEFAULTS.guidance, step=0.05, label="自由 ↔ 写真に忠実")
                with gr.Accordion("くわしい設定", open=False):
                    top_p = gr.Slider(
                        *RANGES["top_p"],
                        DEFAULTS.top_p,
                        step=0.05,
                        label="top_p",
                        info="小さいほど、ありそうな言葉だけから選びます。",
                    )
                    seed = gr.Number(None, label="シード", info="空欄なら毎回ちがうつぶやきになります。", precision=0)
                button = gr.Button("つぶやきを書く", variant="primary")
            with gr.Column():
                description = gr.Textbox(label="説明", interactive=False)
                tweets = gr.HTML(
                    [],
                    label="つぶやき",
                    show_label=True,
                    html_template=TWEETS_TEMPLATE,
                    css_template=TWEETS_CSS,
                    js_on_load=COPY_ON_CLICK,
                    container=True,
                    padding=True,
                    min_height=120,
                )
                used_seed = gr.Textbox(
                    label="今回のシード",
                    info="同じ写真・設定・シードなら、同じつぶやきになります。",
                    interactive=False,
                    buttons=["copy"],
                )
        gr.Markdown(FOOTER)

        # Without preprocess=False gradio opens the upload with Pillow, before the writer's own checks.
        listener = {
            "fn": write,
            "inputs": [photo, tone, count, temperature, guidance, top_p, seed],
            "outputs": [description, tweets, used_seed],
            "preprocess": False,
            "show_progress_on": tweets,
            "concurrency_id": "writer",
            "concurrency_limit": 1,
        }
        gr.on([button.click, photo.upload], **listener, api_name="write")
        examples.load_input_event.then(**listener, api_visibility="private")
        photo.clear(lambda: ("", [], ""), outputs=listener["outputs"], api_visibility="private")
    return page.queue(max_size=32)


def launch_page(page: gr.Blocks, host: str | None = None, port: int | None = None, **options: Any):
    """Serve the page; other options go to `gr.Blocks.launch`.

    None leaves host and port to GRADIO_SERVER_NAME and GRADIO_SERVER_PORT, as a Space needs.
    """
    return page.launch(
        server_name=host,
        server_port=port,
        max_file_size=MAX_BYTES,
        enable_monitoring=False,
        run_history=False,  # it would keep every photo in the visitor's browser
        footer_links=["api"],
        **options,
    )


def example_photos() -> list[str]:
    """Return the paths of two photos that come with gradio, so that they work offline."""
    folder = files("gradio") / "media_assets" / "images"
    return [str(folder / name) for name in ("lion.jpg", "cheetah.jpg")]


def refusal(sentence: str) -> gr.Error:
    """Return the error that shows a sentence; gradio renders it as HTML, so it is escaped."""
    return gr.Error(html.escape(sentence), print_exception=False)


def read_upload(upload: dict | None, folder: str) -> bytes:
    """Return the bytes of an upload, so that no sentence about it can name a path on the server.

    Gradio 6.31 checks that a path lies in its folder of uploads only where the caller marks it as a file;
    callers of the API write what they like, so it is checked here.
    """
    if not upload or not upload.get("path"):
        raise refusal("写真を入れてください。")
    path = Path(upload["path"]).resolve()
    if not path.is_relative_to(Path(folder).resolve()):
        raise refusal("写真を入れてください。")
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)  # one byte too many is enough for the writer to refuse it
    except OSError:
        raise refusal("写真はもう消されています。もう一度入れてください。") from None


def number(value: Any, name: str, label: str, highest: float | None = None) -> int | float:
    """Return a control's value; callers of the API can send anything."""
    low, high = RANGES[name][0], highest or RANGES[name][1]
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise refusal(f"「{label}」は {low} から {high} までの数にしてください({value})。")
    return type(low)(value)


def seed_number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_SEED:
        raise refusal(f"「シード」は 0 から {MAX_SEED} までの整数にしてください({value})。")
    return int(value)
