"""From the X API or an own archive to raw JSONL and photos; what is derived from them can be made again at will."""
