"""From the network to tweets that may be published: drawing, filtering, ranking."""
