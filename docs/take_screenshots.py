"""Take the pictures in this folder again: the page about a lion, on a phone and on a desk, light and dark.

    python docs/take_screenshots.py

Needs the extra `dev` and Chromium. The pictures are WEBP, since a page with a photo is too large as PNG.
"""

import shutil
from io import BytesIO
from pathlib import Path

import gradio
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tweetcap import TweetWriter
from tweetcap.ui.page import build_page
from tweetcap.ui.server import launch_page
from tweetcap.ui.texts import TEXTS

HERE = Path(__file__).parent
LION = Path(gradio.__file__).parent / "media_assets" / "images" / "lion.jpg"
SIZES = {"phone": {"width": 390, "height": 844}, "desk": {"width": 1280, "height": 900}}
SAY = TEXTS["ja"]
SEED = 7


def main() -> None:
    page = build_page(TweetWriter.from_pretrained())
    _, address, _ = launch_page(page, "127.0.0.1", prevent_thread_lock=True, quiet=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for device, size in SIZES.items():
            for scheme in ("light", "dark"):
                context = browser.new_context(
                    locale="ja-JP",
                    viewport=size,
                    color_scheme=scheme,
                    device_scale_factor=2 if device == "phone" else 1,
                )
                shown = context.new_page()
                shown.goto(address)
                write(shown)
                save(shown, f"{device}-{scheme}.webp")
                if scheme == "light":
                    shown.get_by_label(SAY["why"], exact=True).first.click()
                    shown.get_by_role("radio").and_(shown.locator(".chip input")).first.wait_for()
                    shown.locator(".card").first.scroll_into_view_if_needed()
                    shown.locator(".why-panel").evaluate("panel => panel.closest('.card').scrollIntoView()")
                    save(shown, f"{device}-why.webp")
                context.close()
        browser.close()
    page.close(verbose=False)


def write(shown: Page) -> None:
    """Have the lion's tweets written with a seed, so that each picture shows the same ones."""
    details = shown.get_by_role("button", name=SAY["details"])
    details.click()
    shown.get_by_label(SAY["seed"]).and_(shown.locator("input")).fill(str(SEED))
    details.click()
    shown.set_input_files("input[type=file]", LION)
    shown.locator(".description q").wait_for()
    shown.evaluate("document.activeElement.blur(), window.scrollTo(0, 0)")


def save(shown: Page, name: str) -> None:
    shown.wait_for_timeout(500)  # until colours and cards have come to rest
    Image.open(BytesIO(shown.screenshot())).convert("RGB").save(HERE / name, quality=80, method=6)


if __name__ == "__main__":
    main()
