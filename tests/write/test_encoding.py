"""The fast encoder against the encoder that it was made from."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.tiny import tiny_model, tiny_tokenizer
from tweetcap.write import encoding
from tweetcap.write.encoding import FastEncoder, fold

NETWORKS = {  # with the layers that each is here for
    "tf_efficientnet_lite0": 1280,  # ReLU6, padding that differs at two sides
    "resnet18": 512,  # norms and activations that are modules of their own, sums, pooling
    "test_efficientnet": 256,  # SiLU, squeeze and excitation
    "mobilenetv3_small_050": 288,  # Hardswish
}


def with_history(cnn: nn.Module) -> nn.Module:
    """Give every batch norm figures as training leaves them: fresh ones change nothing and hide whether they count."""
    generator = torch.Generator().manual_seed(1)
    for module in cnn.modules():
        if isinstance(module, nn.BatchNorm2d):
            with torch.no_grad():
                module.running_mean.uniform_(-0.2, 0.2, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
                module.weight.uniform_(0.8, 1.2, generator=generator)
                module.bias.uniform_(-0.2, 0.2, generator=generator)
    return cnn


@pytest.fixture(scope="module")
def make_encoder(tmp_path_factory):
    tokenizer = tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))

    def make(name: str):
        encoder = tiny_model(tokenizer, encoder_name=name, encoder_channels=NETWORKS[name]).encoder
        with_history(encoder.cnn)
        return encoder

    return make


@pytest.fixture
def float32(monkeypatch):
    monkeypatch.setattr(encoding, "supports_bfloat16", lambda device: False)


def photos(count: int = 2, height: int = 64, width: int = 64) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(2)) * 2 - 1


def assert_same(fast, slow, **tolerance):
    assert fast.keys() == slow.keys()
    for name in slow.keys():
        torch.testing.assert_close(fast[name], slow[name], **tolerance)


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_in_float32_the_answer_is_the_encoders_own(make_encoder, float32, name):
    encoder = make_encoder(name)
    fast = FastEncoder(encoder)
    assert_same(fast(photos()), encoder(photos()), rtol=1e-3, atol=1e-4)
    # Weights are laid out for the first size that comes; every other is as welcome.
    assert_same(fast(photos(3, 65, 96)), encoder(photos(3, 65, 96)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_in_the_processors_best_precision_the_answer_hardly_moves(make_encoder, name):
    encoder = make_encoder(name)
    fast, slow = FastEncoder(encoder)(photos()), encoder(photos())
    for field in ("last_hidden_state", "pooler_output"):
        assert fast[field].dtype == torch.float32
        assert F.cosine_similarity(fast[field].flatten(), slow[field].flatten(), dim=0) > 0.99
    torch.testing.assert_close(fast.concept_log_probs, slow.concept_log_probs, rtol=0, atol=0.1)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_batch_norm_is_folded(make_encoder, name):
    folded = fold(make_encoder(name).cnn, torch.float32)
    kinds = {type(module) for module in folded.modules()}
    assert not any(issubclass(kind, (nn.BatchNorm2d, nn.Conv2d)) for kind in kinds)


@torch.no_grad()
def test_an_output_that_is_read_twice_is_not_folded():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution, self.norm, self.activation = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()

        def forward_features(self, pixel_values):
            features = self.convolution(pixel_values)
            normed = self.norm(features)
            return features + normed + self.activation(normed)

    cnn = with_history(Twice()).eval()
    folded = fold(cnn, torch.float32)
    torch.testing.assert_close(folded(photos()), cnn.forward_features(photos()), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_network_that_cannot_be_followed_runs_as_it_is(make_encoder):
    class Branching(nn.Module):
        def __init__(self, cnn):
            super().__init__()
            self.cnn = cnn

        def forward_features(self, pixel_values):
            features = self.cnn.forward_features(pixel_values)
            return features if features.sum() > 0 else -features

    encoder = make_encoder("test_efficientnet")
    encoder.cnn = Branching(encoder.cnn)
    assert_same(FastEncoder(encoder)(photos()), encoder(photos()), rtol=0, atol=0)


@torch.no_grad()
def test_the_encoders_own_weights_stay_and_change_without_the_fast_one(make_encoder):
    encoder = make_encoder("resnet18")
    before = {name: weight.clone() for name, weight in encoder.state_dict().items()}
    fast = FastEncoder(encoder)
    answer = fast(photos())
    assert encoder.state_dict().keys() == before.keys()
    for name, weight in encoder.state_dict().items():
        assert torch.equal(weight, before[name]), name
    for weight in encoder.cnn.parameters():
        weight.zero_()
    assert_same(fast(photos()), answer, rtol=0, atol=0)


def test_threads_share_one_fast_encoder(make_encoder):
    encoder = make_encoder("tf_efficientnet_lite0")
    each = [photo[None] for photo in photos(8)]
    alone = [FastEncoder(encoder)(photo) for photo in each]
    shared = FastEncoder(encoder)  # nothing is laid out yet when the threads arrive
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(shared, each))
    for fast, slow in zip(together, alone, strict=True):
        assert_same(fast, slow, rtol=0, atol=1e-5)


def test_an_encoder_in_training_is_refused(make_encoder):
    with pytest.raises(ValueError, match="call its eval"):
        FastEncoder(make_encoder("test_efficientnet").train())


def test_a_convolution_without_a_norm_keeps_its_bias(float32):
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = nn.Conv2d(3, 8, 3, padding="same")
            self.next = nn.Conv2d(8, 8, 3, padding=1, stride=2)

        def forward_features(self, pixel_values):
            return self.next(self.convolution(pixel_values)).relu()

    cnn = Plain().eval()
    with torch.no_grad():
        torch.testing.assert_close(
            fold(cnn, torch.float32)(photos()), cnn.forward_features(photos()), rtol=1e-4, atol=1e-5
        )
