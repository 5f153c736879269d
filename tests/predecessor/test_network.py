"""The imported network says what the original said; files that don't fit are refused in one sentence."""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from importlib.resources import files

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from tests.predecessor.original import WORDS, build, pickled_vocabulary, pixels, teach, write_project
from tweetcap import TweetWriter, cli
from tweetcap.model import TONES, TweetCapForConditionalGeneration, TweetCapProcessor
from tweetcap.predecessor.network import import_network
from tweetcap.predecessor.project import find_network

PHOTOS = ("lion", "cheetah", "cheetah1")
CAPTIONS = [["ライオン", "が", "こちら", "を", "見", "て", "いる"], ["チーター", "!"], ["草", "を", "見", "て", "いる"]]


@pytest.fixture(scope="module")
def photos():
    folder = files("gradio") / "media_assets" / "images"
    return [Image.open(str(folder / f"{name}.jpg")).convert("RGB") for name in PHOTOS]


@pytest.fixture(scope="module")
def taught(photos, tmp_path_factory):
    """An original that says a caption a photo, its project's folder and its import."""
    folder = tmp_path_factory.mktemp("taught")
    encoder, decoder = build()
    teach(encoder, decoder, photos, CAPTIONS)
    write_project(folder, encoder, decoder)
    import_network(find_network(folder), folder / "imported")
    return encoder, decoder, folder


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return write_project(tmp_path_factory.mktemp("built"), *build())


@pytest.fixture
def project(built, tmp_path):
    return shutil.copytree(built, tmp_path / "project")


def load(folder):
    return TweetCapForConditionalGeneration.from_pretrained(folder), TweetCapProcessor.from_pretrained(folder)


def new_names(row) -> list[str]:
    """Return the original's words under their new names, up to the first end."""
    names = {"<start>": "<つぶやき>", "<end>": "</s>"}
    words = [names.get(WORDS[index], WORDS[index]) if index < len(WORDS) else f"word {index}" for index in row]
    return words[: words.index("</s>") + 1] if "</s>" in words else words


def said(model, processor, photos, **options) -> list[list[str]]:
    sequences = model.generate(processor(images=photos, return_tensors="pt")["pixel_values"], **options)
    return [said_in(processor, sequence) for sequence in sequences]


def said_in(processor, sequence) -> list[str]:
    row = processor.tokenizer.convert_ids_to_tokens(sequence[1:].tolist())
    return row[: row.index("</s>") + 1] if "</s>" in row else row


@pytest.mark.parametrize(("seed", "legacy"), [(0, False), (1, True), (2, False)])
def test_greedy_texts_equal_the_original_s_token_for_token(photos, tmp_path, seed, legacy):
    encoder, decoder = build(seed=seed)
    files = find_network(write_project(tmp_path, encoder, decoder, legacy=legacy))
    import_network(files, tmp_path / "imported")
    model, processor = load(tmp_path / "imported")
    photo = encoder(pixels(photos))
    assert said(model, processor, photos) == [new_names(row) for row in decoder.sample(photo, True).tolist()]
    first = [new_names(row) for row in decoder.sample(photo, False).tolist()]
    assert said(model, processor, photos, suppress_tokens=[]) == first


def test_with_the_original_s_resnet_152_and_sizes_too(photos, tmp_path):
    encoder, decoder = build("resnet152", len(WORDS), embed_size=256, hidden_size=512)
    files = find_network(write_project(tmp_path, encoder, decoder))
    config = import_network(files, tmp_path / "imported")
    assert (config.encoder_name, config.encoder_channels) == ("resnet152", 2048)
    model, processor = load(tmp_path / "imported")
    pixel_values = processor(images=photos[0], return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(pixel_values, pixels(photos[:1]), rtol=0, atol=1e-6)
    with torch.no_grad():
        photo = encoder(pixels(photos[:1]))
        encoded = model.encoder(pixel_values)
        (read,) = model.decoder.read(encoded, None, 1)
        torch.testing.assert_close(read, photo, rtol=1e-5, atol=1e-5 * photo.abs().max().item())
        assert_same_logits(model, processor, decoder, photo, encoded)
    sequence = model.generate(encoder_outputs=encoded)[0]
    assert said_in(processor, sequence) == new_names(decoder.sample(photo, True)[0].tolist())


def assert_same_logits(model, processor, decoder, photo, encoded):
    captions = torch.randint(3, len(WORDS), (len(photo), 12), generator=torch.Generator().manual_seed(0))
    captions[:, 0] = WORDS.index("<start>")
    expected = decoder(photo, captions)
    new = torch.tensor(
        processor.tokenizer.convert_tokens_to_ids([new_names([index])[0] for index in range(len(WORDS))])
    )
    inputs = torch.cat([torch.full((len(photo), 1), processor.tokenizer.bos_token_id), new[captions]], 1)
    logits = model(encoder_outputs=encoded, decoder_input_ids=inputs).logits
    scale = expected.abs().max().item()
    torch.testing.assert_close(logits[..., new], expected, rtol=1e-5, atol=1e-5 * scale)
    never = torch.ones(logits.shape[-1], dtype=torch.bool)
    never[new] = False
    assert never.sum() == len(TONES) - 1 + 2 + 1 + 256  # tones but one, registers, begin, bytes
    assert not logits.softmax(-1)[..., never].any()


def test_logits_equal_the_original_s(taught, photos):
    encoder, decoder, folder = taught
    model, processor = load(folder / "imported")
    pixel_values = processor(images=photos, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        assert_same_logits(model, processor, decoder, encoder(pixels(photos)), model.encoder(pixel_values))


@pytest.mark.parametrize(
    "settings", [{"num_beams": 4, "num_return_sequences": 2}, {"do_sample": True, "temperature": 2.0}]
)
def test_beams_and_samples_with_carried_state_equal_recomputation(taught, photos, settings):
    model, processor = load(taught[2] / "imported")
    inputs = processor(images=photos, tone="ほっこり", register="witty", return_tensors="pt")
    sequences = []
    for use_cache in (True, False):
        torch.manual_seed(1)
        sequences.append(model.generate(**inputs, max_new_tokens=12, use_cache=use_cache, **settings).tolist())
    assert sequences[0] == sequences[1]


def test_the_writer_describes_and_tweets_with_it(taught, photos):
    writer = TweetWriter.from_pretrained(taught[2] / "imported")
    assert [writer.describe(photo) for photo in photos] == ["".join(caption) for caption in CAPTIONS]
    tweets = writer.write(photos[0], count=3, temperature=1.5, seed=1)
    assert tweets and tweets == writer.write(photos[0], count=3, temperature=1.5, seed=1)
    assert all(set(tweet.text) <= set("".join(WORDS[4:])) for tweet in tweets)
    # It was taught the lion's caption under the lion.
    encoded = writer.encode([photos[0], photos[1]])
    text = "".join(CAPTIONS[0])
    lion, cheetah = writer.log_likelihoods([text, text], ["つぶやき"] * 2, encoded)
    assert lion > cheetah
    words = writer.explain(photos[0], text, "つぶやき").words
    assert [word.text for word in words] == [*CAPTIONS[0], ""]
    assert sum(map(sum, words[0].attention)) == pytest.approx(1)


def test_every_tone_is_the_network_s_one_tone_and_registers_are_none(taught, photos):
    writer = TweetWriter.from_pretrained(taught[2] / "imported")
    encoded = writer.encode([photos[0]] * 6)
    texts = ["".join(CAPTIONS[0])] * 6
    scores = writer.log_likelihoods(texts, TONES, encoded, registers=[None, "plain", "witty"] * 2)
    assert scores == pytest.approx([scores[0]] * 6, abs=1e-6)


def test_the_null_photo_is_the_mean_of_the_photos_that_it_was_trained_on(taught, photos):
    encoder, _, folder = taught
    model, _ = load(folder / "imported")
    with torch.no_grad():
        (null,) = model.decoder.read(None, None, 2)
        torch.testing.assert_close(null, encoder.bn(encoder.bn.running_mean.expand(2, -1)), rtol=1e-5, atol=1e-6)
        encoded = model.encoder(pixels(photos))
        (seen,) = model.decoder.read(encoded, None, 3)
        (mixed,) = model.decoder.read(encoded, torch.tensor([True, False, True]), 3)
    torch.testing.assert_close(mixed, torch.stack([seen[0], null[0], seen[2]]))


def test_weights_are_stored_in_full_and_nothing_is_tied(taught):
    stored = load_file(taught[2] / "imported" / "model.safetensors")
    assert stored["lm_head.weight"].dtype == torch.float32
    assert stored["lm_head.weight"].shape == (267 + len(WORDS) - 3, 48)
    assert stored["decoder.embed_tokens.weight"].shape == (267 + len(WORDS) - 3, 32)


FRESH = """
import json, sys, torch
sys.modules["tweetcap"] = None  # hides the installed package: what loads is the code in the folder
from transformers import AutoModelForImageTextToText, AutoProcessor, pipeline
folder, photo = sys.argv[1:]
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True)
pipe = pipeline("image-to-text", model=folder, trust_remote_code=True)
from PIL import Image
sequences = model.generate(**processor(images=Image.open(photo), return_tensors="pt"))
print(json.dumps([processor.batch_decode(sequences, skip_special_tokens=True)[0], pipe(photo)[0]["generated_text"]]))
"""


def test_a_fresh_process_without_the_package_says_the_same(taught, tmp_path):
    photo = str(files("gradio") / "media_assets" / "images" / "lion.jpg")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(tmp_path / "modules"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", FRESH, str(taught[2] / "imported"), photo]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == ["".join(CAPTIONS[0])] * 2


# --- Files that don't fit -------------------------------------------------------------------------


def refused(folder, **options) -> str:
    with pytest.raises(ValueError) as error:
        import_network(find_network(folder, **options), folder / "imported")
    sentence = str(error.value)
    assert "\n" not in sentence and sentence.endswith(".") and str(folder) in sentence
    assert not (folder / "imported").exists()
    return sentence


def edit(path, change):
    weights = torch.load(path, weights_only=True)
    change(weights)
    torch.save(weights, path)


def test_a_missing_extra_or_misshapen_tensor_is_named(project):
    (encoder,), (decoder,) = (list((project / "models").glob(f"{kind}-*")) for kind in ("encoder", "decoder"))
    changes = [
        (encoder, lambda w: w.pop("resnet.5.0.bn1.running_var"), "has no resnet.5.0.bn1.running_var"),
        (encoder, lambda w: w.pop("linear.weight"), "has no matrix linear.weight"),
        (encoder, lambda w: w.update({"fc.weight": torch.zeros(2, 2)}), "has 'fc.weight', which no such"),
        (
            encoder,
            lambda w: w.update({"linear.weight": torch.zeros(32, 2048)}),
            r"linear.weight of \(32, 2048\), where",
        ),
        (encoder, lambda w: w.update({"linear.weight": torch.zeros(31, 512)}), "31 numbers a photo"),
        (encoder, lambda w: w.update({"bn.bias": torch.full((32,), float("nan"))}), "numbers in 'bn.bias'"),
        (encoder, lambda w: w.update({"bn.bias": torch.zeros(1).expand(32)}), "'bn.bias' in a form"),
        (encoder, lambda w: w.update({"bn.bias": torch.zeros(32).to_sparse()}), "'bn.bias' in a form"),
        (encoder, lambda w: w.update({"resnet.6.2.conv1.weight": torch.zeros(2)}), r"\[2, 2, 3, 2\] basic blocks"),
        (encoder, lambda w: w.update({"step": 7}), "no state dict"),
        (decoder, lambda w: w.pop("lstm.weight_hh_l0"), "has no matrix lstm.weight_hh_l0"),
        (decoder, lambda w: w.update({"lstm.weight_hh_l1": torch.zeros(192, 48)}), "more than one LSTM layer"),
        (decoder, lambda w: w.update({"linear.bias": torch.zeros(3)}), r"linear.bias of \(3,\)"),
        (decoder, lambda w: w.clear(), "no state dict"),
    ]
    for path, change, sentence in changes:
        kept = path.read_bytes()
        edit(path, change)
        assert re.search(sentence, refused(project))
        path.write_bytes(kept)


def test_a_vocabulary_of_another_training_is_refused(project):
    path = project / "data" / "vocab.pkl"
    path.write_bytes(pickled_vocabulary(WORDS[:-1]))
    assert f"{len(WORDS) - 1} words and" in refused(project)


@pytest.mark.parametrize(
    ("vocabulary", "sentence"),
    [
        ([], "no Vocabulary"),
        ({"word2idx": {}, "idx2word": {}}, "no word <pad>"),
        ({"word2idx": {"<pad>": 0}, "idx2word": {1: "<pad>"}}, "of number 0"),
        ({"word2idx": {"<pad>": 1}, "idx2word": {0: "<pad>"}}, "contradicts itself"),
        ({"word2idx": {"<pad>": 0, "<s>": 1}, "idx2word": {0: "<pad>"}}, "numbers 2 words and names 1"),
        ({"word2idx": {"\ud800": 0}, "idx2word": {0: "\ud800"}}, "of number 0"),
        ({"word2idx": 3, "idx2word": 4}, "no Vocabulary"),
    ],
)
def test_a_vocabulary_that_is_none_is_refused(project, vocabulary, sentence):
    (project / "data" / "vocab.pkl").write_bytes(pickle.dumps(vocabulary))
    assert sentence in refused(project)


def test_a_word_that_is_one_of_our_signs_is_refused(project):
    (project / "data" / "vocab.pkl").write_bytes(pickled_vocabulary([*WORDS[:-1], "<0x41>"]))
    assert "<0x41>" in refused(project)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_cut_and_hostile_checkpoints_are_refused_and_nothing_runs(tmp_path, legacy):
    project = write_project(tmp_path, *build(), legacy=legacy)
    path = project / "models" / "decoder-10-280.twitter.epoch10.ckpt"
    whole = path.read_bytes()
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert "damaged" in refused(project)

    class Hostile:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'it_ran'}",)

    for hostile in (Hostile(), {"embed.weight": Hostile()}):
        torch.save(hostile, path, _use_new_zipfile_serialization=not legacy)
        assert "nothing of it was run" in refused(project)
    path.write_bytes(pickle.dumps(Hostile()))
    assert "nothing of it was run" in refused(project)
    assert not (tmp_path / "it_ran").exists()


def test_tensors_without_numbers_and_names_for_the_terminal_are_refused(project):
    encoder = project / "models" / "encoder-10-280.twitter.epoch10.ckpt"
    whole = torch.load(encoder, weights_only=True)
    torch.save(whole | {"linear.weight": torch.empty(32, 512, device="meta")}, encoder)
    assert "in a form that train.py never saved" in refused(project)
    torch.save(whole | {"\x1b[31m": torch.ones(1)}, encoder)
    assert r"has '\x1b[31m', which no such network has" in refused(project)


def test_a_zip_that_unpacks_to_more_than_is_read_is_refused(project, monkeypatch):
    monkeypatch.setattr("tweetcap.predecessor.project.MAX_WEIGHTS", 1000)
    assert "more than the" in refused(project)


def test_networks_are_told_apart_by_name_and_files_may_lie_side_by_side(project, tmp_path):
    encoder, decoder = build(seed=5)
    write_project(project, encoder, decoder, name="5-3000.coco.1")
    assert "holds 2 networks (10-280.twitter.epoch10, 5-3000.coco.1)" in refused(project)
    assert "no network '7'" in refused(project, name="7")
    assert find_network(project, "5-3000.coco.1").decoder.name == "decoder-5-3000.coco.1.ckpt"
    (project / "models" / "decoder-5-3000.coco.1.ckpt").unlink()
    assert "is missing" in refused(project, name="5-3000.coco.1")
    (project / "data" / "vocab_new.pkl").write_bytes(b"")
    assert "vocab.pkl, vocab_new.pkl" in refused(project, name="10-280.twitter.epoch10")
    flat = tmp_path / "flat"
    flat.mkdir()
    chosen = find_network(project, "10-280.twitter.epoch10", project / "data" / "vocab.pkl")
    for path in (chosen.encoder, chosen.decoder, chosen.vocabulary):
        shutil.copy(path, flat)
    assert import_network(find_network(flat), tmp_path / "imported").encoder_name == "resnet18"
    for folder in (tmp_path / "none", tmp_path / "flat" / "vocab.pkl"):
        with pytest.raises(ValueError, match="is no folder"):
            find_network(folder)


# --- The command ----------------------------------------------------------------------------------


def test_the_command_writes_a_checkpoint_with_the_tweets_hashes_and_never_over_another(project, tmp_path):
    annos = project / "data" / "annos"
    annos.mkdir()
    rows = [{"screen_name": "neko", "text": "ライオンがこちらを見ている", "filename": "neko_1.png"}, "broken"]
    (annos / "neko.pickle").write_bytes(pickle.dumps(rows))
    output = tmp_path / "deep" / "imported"
    command = ["import", "model", str(project), "--output", str(output)]
    left = output.with_name(".imported.unfinished")
    left.mkdir(parents=True)  # by a run that was killed
    done = CliRunner().invoke(cli.app, command)
    assert done.exit_code == 0, done.output
    assert "resnet18" in done.stderr
    assert not left.exists()
    assert "ライオンがこちらを見ている！" in TweetWriter.from_pretrained(output).seen
    again = CliRunner().invoke(cli.app, command)
    assert again.exit_code == 2
    assert "is there already" in again.stderr
