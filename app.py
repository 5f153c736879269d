"""The Space: builds the page on a checkpoint and serves it.

python app.py
TWEETCAP_MODEL=runs/mine/best python app.py
"""

import os

from tweetcap import TweetWriter
from tweetcap.ui.page import build_page, launch_page

if __name__ == "__main__":
    launch_page(build_page(TweetWriter.from_pretrained(os.environ.get("TWEETCAP_MODEL") or None)))
