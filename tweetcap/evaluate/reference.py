"""Texts against references: BLEU and chrF by sacrebleu, ROUGE-L and CIDEr-D by pycocoevalcap's scorers (no Java).

Every text of a photo is compared with all references of the photo. BLEU and chrF are those of the whole corpus, from
counts summed over all texts; ROUGE-L and CIDEr-D are means over texts.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from tqdm import tqdm

from tweetcap.evaluate.measures import Sums, divide, mean_of_texts
from tweetcap.evaluate.words import spaced

ORDER = 4  # longest n-gram of BLEU and CIDEr
CHARACTERS = 6  # longest n-gram of chrF
BETA = 2  # of chrF: recall counts BETA times as much as precision

Texts = Sequence[Sequence[str]]  # photo → texts


def reference_measures(texts: Texts, references: Texts) -> dict[str, Sums]:
    """Return BLEU-1 to BLEU-4 and chrF (0 to 100), ROUGE-L (0 to 1) and CIDEr-D (0 to 10).

    Args:
        texts, references: photo → texts; a photo that lacks either adds nothing.
    """
    counted = bleu_counts(texts, references)
    bleu = {f"BLEU-{order}": Sums(counted, BleuOf(order)) for order in range(1, ORDER + 1)}
    return {
        **bleu,
        "ROUGE-L": mean_of_texts(rouge_scores(texts, references)),
        "CIDEr-D": mean_of_texts(cider_scores(texts, references)),
        "chrF": Sums(chrf_counts(texts, references), chrf_of),
    }


def signatures() -> dict[str, str]:
    """Return how each figure is worked out, for metrics.json."""
    from importlib.metadata import version

    sacrebleu, coco = version("sacrebleu"), version("pycocoevalcap")
    return {
        "BLEU": f"sacrebleu {sacrebleu}, corpus, tokenize none on words with spaces between, smoothing exp, case mixed",
        "chrF": f"sacrebleu {sacrebleu}, corpus, character {CHARACTERS}-grams, no words, beta {BETA}, best reference",
        "ROUGE-L": f"pycocoevalcap {coco}, mean over texts, beta 1.2",
        "CIDEr-D": f"pycocoevalcap {coco}, mean over texts, document frequencies from the references of these photos",
    }


def _shown(photos: Iterable, count: int, name: str) -> Iterable:
    return tqdm(photos, desc=name, total=count, unit="photo", disable=None, leave=False)


# --- BLEU -----------------------------------------------------------------------------------------


def bleu_counts(texts: Texts, references: Texts) -> np.ndarray:
    """Return per photo: words, reference words, n-grams found and n-grams in all, n = 1 to 4: (photos, 10)."""
    from sacrebleu.metrics import BLEU

    metric = BLEU(tokenize="none", force=True, effective_order=True)
    rows = np.zeros((len(texts), 2 + 2 * ORDER))
    for row, own, theirs in _shown(zip(rows, texts, references, strict=True), len(texts), "BLEU"):
        spaced_references = [spaced(reference) for reference in theirs]
        for text in own if theirs else ():
            score = metric.sentence_score(spaced(text), spaced_references)
            row += (score.sys_len, score.ref_len, *score.counts, *score.totals)
    return rows


class BleuOf:
    """Corpus BLEU of an order from `bleu_counts`, as sacrebleu with its default smoothing works it out."""

    def __init__(self, order: int):
        self.order = order

    def __call__(self, sums: np.ndarray) -> np.ndarray:
        """Return (…, 10) → (…); not a number where there are no texts."""
        words, reference_words = sums[..., 0], sums[..., 1]
        found, grams = sums[..., 2 : 2 + self.order], sums[..., 2 + ORDER : 2 + ORDER + self.order]
        # The k-th order of which nothing is found counts as 1 ÷ 2^k found (NIST).
        halvings = 2.0 ** (found == 0).cumsum(-1)
        precisions = 100 * divide(np.where(found == 0, 1 / halvings, found), grams)
        with np.errstate(divide="ignore"):
            short = np.minimum(0, 1 - divide(reference_words, words))
            bleu = np.exp(short + np.log(precisions).mean(-1))
        # Texts too short for an n-gram of the order, or without a single word in common, score 0.
        bleu = np.where((found.sum(-1) == 0) | (grams[..., -1] == 0), 0.0, bleu)
        return np.where(reference_words == 0, np.nan, bleu)


# --- ROUGE-L and CIDEr-D --------------------------------------------------------------------------


def rouge_scores(texts: Texts, references: Texts) -> list[list[float]]:
    """Return the ROUGE-L F of each text, against the photo's references together."""
    from pycocoevalcap.rouge.rouge import Rouge

    rouge = Rouge()
    scores = []
    for own, theirs in _shown(zip(texts, references, strict=True), len(texts), "ROUGE-L"):
        spaced_references = [spaced(reference) for reference in theirs]
        scores.append([rouge.calc_score([spaced(text)], spaced_references) for text in own] if theirs else [])
    return scores


def cider_scores(texts: Texts, references: Texts) -> list[list[float]]:
    """Return the CIDEr-D of each text.

    The scorer takes one text a photo, so the first texts of all photos are scored, then the second ones and so on:
    the document frequencies are the same each time.
    """
    from pycocoevalcap.cider.cider import Cider

    having = [place for place, theirs in enumerate(references) if theirs]
    spaced_references = {place: [spaced(reference) for reference in references[place]] for place in having}
    scores: list[list[float]] = [[] for _ in texts]
    for number in range(max((len(texts[place]) for place in having), default=0)):
        # A photo with fewer texts takes part with an empty one, for its references count, and its score is left out.
        taken = {place: [spaced(texts[place][number]) if number < len(texts[place]) else ""] for place in having}
        _, found = Cider().compute_score(spaced_references, taken)
        for place, score in zip(having, found, strict=True):
            if number < len(texts[place]):
                scores[place].append(float(score))
    return scores


# --- chrF -----------------------------------------------------------------------------------------


def chrf_counts(texts: Texts, references: Texts) -> np.ndarray:
    """Return per photo, for n = 1 to 6: the text's n-grams, the best reference's, and those in both: (photos, 18)."""
    from sacrebleu.metrics import CHRF

    metric = CHRF(char_order=CHARACTERS, word_order=0, beta=BETA)
    rows = np.zeros((len(texts), 3 * CHARACTERS))
    for row, own, theirs in _shown(zip(rows, texts, references, strict=True), len(texts), "chrF"):
        if own and theirs:
            # sacrebleu has no public name for the counts that its own significance tests resample.
            streams = [[spaced(reference)] * len(own) for reference in theirs]
            row += np.sum(metric._extract_corpus_statistics([spaced(text) for text in own], streams), axis=0)
    return rows


def chrf_of(sums: np.ndarray) -> np.ndarray:
    """Return corpus chrF from `chrf_counts`: (…, 18) → (…), not a number where there are no texts."""
    texts, references, both = (sums[..., which::3] for which in range(3))
    orders = (texts > 0) & (references > 0)
    precision = divide(np.where(orders, divide(both, texts), 0).sum(-1), orders.sum(-1))
    recall = divide(np.where(orders, divide(both, references), 0).sum(-1), orders.sum(-1))
    score = 100 * divide((1 + BETA**2) * precision * recall, BETA**2 * precision + recall)
    return np.where(references.sum(-1) == 0, np.nan, np.where(np.nan_to_num(precision + recall) == 0, 0.0, score))
