"""From a checkpoint to the Hub: its card, the model with its code, and the Space that shows it."""
