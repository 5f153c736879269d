"""How fast tweetcap is, beside others and beside what the processor allows; and load on its page."""
