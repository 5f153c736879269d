"""`python -m tweetcap`, for those whose PATH doesn't hold the command."""

from tweetcap.cli import main

main()
