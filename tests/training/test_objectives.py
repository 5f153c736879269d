"""Each objective does to the gradient what it says."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from networks import average_weights, build_optimizer, set_rate
from objectives import (
    CiderReward,
    Verdicts,
    count_tokens,
    counted,
    draw_texts,
    judged_texts,
    own_words,
    read_text,
    text_weights,
    to_inputs,
    unusable_texts,
)
from run_config import Stage

from tests.tiny import TEXTS, some_photos, tiny_model, tiny_processor, tiny_tokenizer
from tweetcap.evaluate.reference import cider_scores
from tweetcap.model import CAPTION_TONE

STAGE = Stage(name="stage", sources={"captions": 1}, epochs=1, learning_rate=1e-3, choose_by=["captions"])


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
def model(tokenizer):
    model = tiny_model(tokenizer, dropout=0.0).train()
    model.encoder.eval()
    return model


@pytest.fixture(scope="module")
def batch(tokenizer):
    """Six texts of three photos: every other one a 説明, the others tweets."""
    rows = []
    for number, text in enumerate(TEXTS):
        tone = (CAPTION_TONE, "ツッコミ")[number % 2]
        rows.append([*tokenizer.prompt_ids(tone)[1:], *tokenizer.encode(text), tokenizer.eos_token_id])
    labels = torch.full((len(rows), max(map(len, rows))), -100)
    for place, row in enumerate(rows):
        labels[place, : len(row)] = torch.tensor(row)
    pixels = tiny_processor(tokenizer).image_processor(some_photos(3), return_tensors="pt")["pixel_values"]
    return {
        "labels": labels,
        "prompt_lengths": torch.ones(len(rows), dtype=torch.long),
        "photo_mask": torch.ones(len(rows), dtype=torch.bool),
        "judged": torch.zeros(len(rows), dtype=torch.bool),
        "concept_mask": torch.ones(len(rows), 2, dtype=torch.bool),
        "sight_mask": torch.ones(len(rows), 4, dtype=torch.bool),
        "weights": torch.tensor([0.5, 1.0, 1.5, 0.5, 1.0, 1.5]),
        "pixel_values": pixels,
        "photo_rows": torch.tensor([0, 0, 1, 1, 2, 2]),
        "photos": torch.tensor([0, 0, 1, 1, 2, 2]),
    }


def gradient(model, loss) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def parts(batch, places) -> dict[str, torch.Tensor]:
    """Return a batch of some of the texts."""
    shared = ("pixel_values",)
    return {name: value if name in shared else value[places] for name, value in batch.items()}


# --- Weights and steps of several batches -----------------------------------------------------------


def test_a_photo_of_several_texts_gives_what_encoding_it_for_each_gives(model, batch):
    apart = batch | {"pixel_values": batch["pixel_values"][batch["photo_rows"]], "photo_rows": torch.arange(6)}
    torch.testing.assert_close(model(**to_inputs(model, batch)).loss, model(**to_inputs(model, apart)).loss)


def test_a_text_of_weight_two_counts_as_if_it_stood_there_twice(model, batch):
    weights = torch.tensor([2.0, 1.0, 1.0, 0.0, 1.0, 1.0])
    weighted = model(**to_inputs(model, batch), weights=weights).loss
    twice = parts(batch, torch.tensor([0, 0, 1, 2, 4, 5]))
    torch.testing.assert_close(weighted, model(**to_inputs(model, twice)).loss)


def test_without_a_power_likes_change_nothing_and_with_one_they_do(model, batch):
    inputs = to_inputs(model, batch)
    plain, even, liked = (
        model(**inputs, weights=weights).loss for weights in (None, text_weights(batch, 0.0), text_weights(batch, 1.0))
    )
    assert plain == even
    assert plain != liked


def test_two_batches_of_unlike_length_give_the_gradient_of_their_texts_in_one(model, batch):
    whole = gradient(model, model(**to_inputs(model, batch)).loss)
    halves = [parts(batch, torch.tensor(places)) for places in ([0, 1, 2, 3], [4, 5])]
    tokens = sum(count_tokens(half, torch.ones(len(half["labels"]))) for half in halves) / len(halves)
    loss = sum(model(**to_inputs(model, half), num_items_in_batch=tokens).loss for half in halves) / len(halves)
    summed = gradient(model, loss)
    assert whole.keys() == summed.keys()
    for name in whole:
        torch.testing.assert_close(whole[name], summed[name], rtol=1e-4, atol=1e-6)


def test_a_text_whose_loss_is_no_number_is_found(model, batch):
    inputs = to_inputs(model, batch)
    assert unusable_texts(model, inputs) == []
    inputs["encoder_outputs"].last_hidden_state = inputs["encoder_outputs"].last_hidden_state.clone()
    inputs["encoder_outputs"].last_hidden_state[3] = math.inf
    assert unusable_texts(model, inputs) == [3]


# --- Average, rate ----------------------------------------------------------------------------------


def test_the_average_follows_the_weights_faster_at_first_and_keeps_the_tie(model):
    average = average_weights(model, 0.9)
    weight = model.decoder.output.weight
    expected = None
    for step in range(40):
        with torch.no_grad():
            weight.add_(1.0)
        average.update_parameters(model)
        if expected is None:
            expected = weight.detach().clone()
        else:
            decay = min(0.9, (1 + step) / (10 + step))
            expected = decay * expected + (1 - decay) * weight.detach()
    torch.testing.assert_close(average.module.decoder.output.weight, expected)
    assert average.module.lm_head.weight is average.module.decoder.embed_tokens.weight


def test_the_encoder_has_its_own_rate_and_a_frozen_one_none(model):
    frozen = build_optimizer(model, STAGE)
    assert not any(p.requires_grad for p in model.encoder.parameters())
    assert {group["highest_lr"] for group in frozen.param_groups} == {1e-3}
    thawed = build_optimizer(model, STAGE.model_copy(update={"encoder_learning_rate": 1e-5}))
    set_rate(thawed, step=0, warmup=2, total=10, schedule="cosine")
    assert {group["lr"] for group in thawed.param_groups} == {0.5e-3, 0.5e-5}
    assert {id(p) for group in thawed.param_groups for p in group["params"]} == {
        id(p)
        for name, p in model.named_parameters()
        if not name.startswith(("encoder.class_head", "encoder.sight_head"))
    }


# --- Scheduled sampling -----------------------------------------------------------------------------


def test_words_that_are_read_in_place_of_the_texts_own_are_drawn_from_the_network(model, batch, tokenizer):
    inputs = to_inputs(model, batch)
    true = model.shift_right(batch["labels"])
    with torch.no_grad():
        logits = model(**inputs | {"labels": None}, decoder_input_ids=true).logits
        probabilities = logits.softmax(-1)[0, 2]  # of what follows begin, tone and first word
    torch.manual_seed(0)
    often = parts(batch, torch.zeros(1000, dtype=torch.long))
    with torch.no_grad():
        inputs = to_inputs(model, often)
    counts = Counter()
    for _ in range(3):
        read = own_words(model, inputs, often, 1.0)["decoder_input_ids"]
        counts.update(read[:, 3].tolist())
        assert torch.equal(read[:, :2], true[:1, :2].expand(1000, -1))  # begin and tone
    del counts[true[0, 3].item()]  # also stands there where the end was drawn
    drawn = torch.zeros(len(probabilities))
    for token, count in counts.items():
        drawn[token] = count / 3000
    probabilities[[true[0, 3].item(), tokenizer.eos_token_id]] = 0.0
    assert (drawn - probabilities).abs().max() < 0.04
    assert drawn[tokenizer.eos_token_id] == 0


def test_the_share_of_own_words_is_the_probability_and_targets_stay(model, batch):
    inputs = to_inputs(model, batch)
    torch.manual_seed(0)
    true = model.shift_right(batch["labels"])
    replaceable = (torch.arange(true.shape[1]) > 1) & (batch["labels"] != -100)
    changed = total = 0
    for _ in range(50):
        asked = own_words(model, inputs, batch, 0.3)
        assert torch.equal(asked["labels"], batch["labels"])
        differs = asked["decoder_input_ids"] != true
        assert not differs[~replaceable].any()
        changed, total = changed + differs.sum().item(), total + replaceable.sum().item()
    assert 0.22 < changed / total <= 0.32  # a drawn word may be the true one
    assert torch.equal(own_words(model, inputs, batch, 0.0)["decoder_input_ids"], true)


def test_every_weight_still_learns_under_autocast_when_words_were_drawn_before(model, batch):
    # Weights cast to bfloat16 without a gradient must not be taken for those of the real pass.
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        plain = to_inputs(model, batch)
    with torch.autocast("cpu", torch.bfloat16):
        asked = own_words(model, plain, batch, 0.9)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(**asked).loss
    learning = gradient(model, loss)
    assert learning.keys() == gradient(model, model(**to_inputs(model, batch)).loss).keys()
    assert all(grad.abs().sum() > 0 for name, grad in learning.items() if "copy_gate" in name or "lstm" in name)


# --- Verdicts -----------------------------------------------------------------------------------------


@pytest.fixture
def judged(batch):
    """The batch with verdicts on the last four of its texts, good and bad."""
    advantages = torch.tensor([1.0, 1.0, 1.5, -0.5, -2.0, 0.75])
    return batch | {"judged": torch.arange(6) >= 2, "weights": advantages}


def moved(model, tokenizer):
    """Return a network that has gone some way from the first."""
    other = tiny_model(tokenizer, dropout=0.0).train()
    other.encoder.eval()
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        for weight in other.decoder.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(3))
    return other


def test_weighing_texts_gives_the_gradient_of_the_verdicts_loss_and_of_good_texts_nats(model, judged, tokenizer):
    verdicts, now = Verdicts(model, sharpness=0.1, strength=1.0), moved(model, tokenizer)
    labels, rows = counted(judged), judged["judged"]
    inputs = to_inputs(now, judged) | {"weights": text_weights(judged, 0.0)}
    weighed = verdicts(now, inputs, judged)
    assert torch.equal(weighed["weights"][~rows], torch.ones(2))
    assert torch.equal(weighed["labels"][~rows], judged["labels"][~rows])

    def nats(network):
        asked = {name: value for name, value in to_inputs(now, judged).items() if name != "labels"}
        logits = network(**asked, decoder_input_ids=network.shift_right(judged["labels"])).logits
        return -torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none").sum(1)

    with torch.no_grad():
        first = nats(model.eval())
    gains = judged["weights"].sign() * 0.1 * (nats(now) - first)
    losses = -judged["weights"].abs() * torch.nn.functional.logsigmoid(gains)
    torch.testing.assert_close(verdicts.losses(now, inputs, judged), losses.detach(), rtol=1e-4, atol=1e-5)
    good = rows & (judged["weights"] > 0)
    expected = gradient(now, losses[rows].sum() * 2 / 0.1 - nats(now)[good].sum())

    alone = weighed | {"weights": torch.where(rows, weighed["weights"], 0)}
    found = gradient(now, now(**alone, num_items_in_batch=torch.tensor(1.0)).loss)
    for name, grad in expected.items():
        torch.testing.assert_close(found[name], grad, rtol=1e-3, atol=1e-4 * grad.abs().max().item() + 1e-7)
    assert now.training and not verdicts.first.training


def test_a_step_towards_verdicts_parts_good_texts_from_bad_ones(model, judged):
    verdicts = Verdicts(model, sharpness=0.5, strength=1.0)
    rows, good = judged["judged"], judged["weights"] > 0
    optimizer = torch.optim.SGD(model.decoder.parameters(), lr=0.02)
    start = verdicts.losses(model, to_inputs(model, judged), judged)
    torch.testing.assert_close(start, judged["weights"].abs() * math.log(2))
    for _ in range(8):
        inputs = verdicts(model, to_inputs(model, judged) | {"weights": text_weights(judged, 0.0)}, judged)
        inputs["weights"] = torch.where(rows, inputs["weights"], 0)
        optimizer.zero_grad()
        model(**inputs, num_items_in_batch=torch.tensor(10.0)).loss.backward()
        optimizer.step()
    inputs = to_inputs(model, judged)
    nats = verdicts.gains(model, inputs, judged) * judged["weights"].sign() / 0.5
    assert nats[rows & good].min() > nats[rows & ~good].max()
    assert verdicts.losses(model, inputs, judged)[rows].sum() < start[rows].sum()


def test_a_batch_without_verdicts_stays_as_it_is(model, batch):
    inputs = to_inputs(model, batch) | {"weights": text_weights(batch, 0.0)}
    assert Verdicts(model, 0.1, 1.0)(model, inputs, batch) is inputs


# --- Self-critical training ---------------------------------------------------------------------------


def test_the_reward_is_the_evaluations_cider(tokenizer):
    references = {0: ["猫が箱の中で寝ている", "箱に猫がいる"], 1: ["犬がボールをくわえて跳んでた"], 2: ["朝から元気"]}
    texts = ["猫が箱の中で寝ている", "犬が箱の中で寝ている", "朝から猫すぎる"]
    expected = [score for (score,) in cider_scores([[text] for text in texts], list(references.values()))]
    reward = CiderReward(references)
    np.testing.assert_allclose(reward([0, 1, 2], texts), expected, rtol=1e-5)
    # One at a time too: document frequencies are those of all references, not of the texts asked about.
    np.testing.assert_allclose([reward([place], [texts[place]])[0] for place in range(3)], expected, rtol=1e-5)
    assert reward([7], ["猫"]) == [0.0]


def test_drawn_texts_end_once_and_the_greedy_one_is_what_generate_says(model, batch, tokenizer):
    outputs = model.encoder(batch["pixel_values"])
    tone = tokenizer.prompt_ids(CAPTION_TONE)[1]
    drawn, greedy = draw_texts(model, outputs, tone, 8)
    assert model.decoder.training
    for row in drawn.tolist():
        ended = [place for place, token in enumerate(row) if token == tokenizer.eos_token_id]
        assert len(ended) <= 1
        assert all(token == -100 for token in row[ended[0] + 1 :]) if ended else -100 not in row
    model.eval()
    prompt = torch.tensor([tokenizer.prompt_ids(CAPTION_TONE)] * 3)
    said = model.generate(
        batch["pixel_values"], decoder_input_ids=prompt, max_new_tokens=8, do_sample=False, forced_bos_token_id=None
    )
    assert [read_text(tokenizer, row) for row in greedy.tolist()] == tokenizer.batch_decode(
        said, skip_special_tokens=True
    )


def test_the_gradient_of_judged_texts_is_the_policy_gradient(model, batch, tokenizer, monkeypatch):
    """Against the definition: the mean over texts of advantage × gradient of −log p, text by text."""
    inputs = to_inputs(model, batch) | {"weights": torch.ones(6)}
    tone = tokenizer.prompt_ids(CAPTION_TONE)[1]
    rows = [0, 2, 4]
    torch.manual_seed(0)
    drawn = torch.randint(tokenizer.first_piece_id, len(tokenizer), (3, 5))
    drawn[1, 3], drawn[1, 4] = tokenizer.eos_token_id, -100
    monkeypatch.setattr("objectives.draw_texts", lambda *_: (drawn, drawn[:, :1]))
    advantages = torch.tensor([0.7, -0.4, 0.1])
    given = iter([advantages.numpy(), np.zeros(3, np.float32)])
    asked = judged_texts(model, inputs, batch, 1.0, lambda photos, texts: next(given), tokenizer, 16)
    tokens = torch.tensor(10.0)
    found = gradient(model, model(**asked, num_items_in_batch=tokens).loss)

    loss = 0.0
    for place, row in enumerate(rows):
        ids = [token for token in drawn[place].tolist() if token != -100]
        read = torch.tensor([[tokenizer.bos_token_id, tone, *ids]])
        outputs = model.encoder(batch["pixel_values"][batch["photo_rows"][row]][None])
        log_probs = model(encoder_outputs=outputs, decoder_input_ids=read).logits.log_softmax(-1)[0]
        loss = loss - advantages[place] * sum(log_probs[1 + at, token] for at, token in enumerate(ids)) / tokens
    others = parts(batch, torch.tensor([1, 3, 5]))  # tweets keep their cross-entropy
    loss = loss + model(**to_inputs(model, others), num_items_in_batch=tokens).loss
    expected = gradient(model, loss)
    assert expected.keys() == found.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-3, atol=1e-4)


def test_self_critical_training_raises_the_reward_of_a_toy(model, batch, tokenizer):
    """Reward: the hiragana of a text. The network finds out by drawing alone."""
    captions = parts(batch, torch.tensor([0, 2, 4]))
    optimizer = torch.optim.Adam(model.decoder.parameters(), lr=5e-3)
    with torch.no_grad():
        encoded = to_inputs(model, captions)

    def reward(photos, texts):
        return np.array([sum("ぁ" <= letter <= "ん" for letter in text) / 8 for text in texts], np.float32)

    def mean_reward() -> float:
        torch.manual_seed(1)
        drawn = torch.cat([draw_texts(model, encoded["encoder_outputs"], 3, 8)[0] for _ in range(20)])
        return reward(None, [read_text(tokenizer, ids) for ids in drawn.tolist()]).mean()

    before = mean_reward()
    torch.manual_seed(0)
    for _ in range(60):
        inputs = encoded | {"weights": torch.ones(3)}
        asked = judged_texts(model, inputs, captions, 1.0, reward, tokenizer, 8)
        loss = model(**asked, num_items_in_batch=torch.tensor(3.0)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert mean_reward() > 2 * before


def test_without_a_description_in_the_batch_nothing_is_judged(model, batch, tokenizer):
    inputs = to_inputs(model, batch) | {"weights": torch.ones(6)}
    tweets = batch | {"labels": batch["labels"].masked_fill(batch["labels"] == batch["labels"][0, 0], 4)}
    inputs["labels"] = tweets["labels"]
    assert judged_texts(model, inputs, tweets, 1.0, None, tokenizer, 8) is inputs
