"""How well the words of a text go with a photo, by the network's detectors of sights.

An LSTM that has read of many a dog with a ball writes ボール beside a dog without one. Words that the photo makes much
less likely than any photo would are kept from being drawn; how much likelier or less likely it makes the others is for
ranking.
"""

from collections.abc import Sequence

import torch

from tweetcap.model import TweetCapConfig, TweetCapEncoderOutput

LEAST_LIFT = -1.5  # nats; of 189 candidates with a word below it readers found 24 % to fit, of the others 38 %


class SightWords:
    """The sights of a network and the tokens that are spellings of them; a network without sights has none.

    Raises:
        LookupError: the config names tokens beyond the vocabulary.
    """

    def __init__(self, config: TweetCapConfig):
        self.tokens = config.sight_token_ids if config.num_sights else []
        self.of_token = {token: sight for sight, tokens in enumerate(self.tokens) for token in tokens}
        if unknown := self.of_token.keys() - set(range(config.vocab_size)):
            raise LookupError(f"sight_token_ids {min(unknown)}")
        self.log_priors = torch.tensor(config.sight_priors).log()

    def lifts(self, encoded: TweetCapEncoderOutput) -> list[float]:
        """Return for each sight by how many nats one photo makes its word likelier than photos do on average."""
        return (encoded.sight_log_probs[0].cpu() - self.log_priors).tolist() if self.tokens else []

    def banned(self, lifts: Sequence[float]) -> list[int]:
        """Return the tokens of the sights that plainly aren't there."""
        return [token for tokens, lift in zip(self.tokens, lifts, strict=True) if lift < LEAST_LIFT for token in tokens]

    def lift(self, token_ids: Sequence[int], lifts: Sequence[float]) -> float:
        """Return the sum of a text's lifts, each sight counted once: above 0 its words go with the photo."""
        return sum(lifts[sight] for sight in {self.of_token[token] for token in token_ids if token in self.of_token})
