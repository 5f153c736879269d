"""The Space: builds the page on a checkpoint and serves it.

python app.py
TWEETCAP_MODEL=runs/mine/best python app.py
"""

import os
import sys

from tweetcap.commands.startup import quick_start, share_one_heap


def main() -> None:
    model = os.environ.get("TWEETCAP_MODEL") or None
    share_one_heap()
    with quick_start():
        from tweetcap import TweetWriter
        from tweetcap.ui.feedback import feedback_from_environment
        from tweetcap.ui.server import serve_writer

        try:
            writer = TweetWriter.from_pretrained(model)
            feedback = feedback_from_environment(os.environ)
        except ValueError as error:
            sys.exit(f"tweetcap: {error}")
    serve_writer(writer, feedback=feedback)


if __name__ == "__main__":
    main()
