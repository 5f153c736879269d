"""The sections on small sizes: does each measure what it says?"""

from dataclasses import replace

import pytest
import torch
import yaml
from transformers import (
    GPT2Config,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTImageProcessor,
)
from typer.testing import CliRunner

import tests.training.processes  # noqa: F401  puts training/ on the path
from benchmarks import __main__ as command
from benchmarks import peers, stages, training
from benchmarks.material import lions
from benchmarks.report import TITLES
from benchmarks.results import QUICK, BenchmarkError, Figure, Plan, Section
from benchmarks.start import by_package
from benchmarks.timing import Estimate
from tweetcap import TweetWriter
from tweetcap.write import writer as writer_module


@pytest.fixture(scope="module")
def writer() -> TweetWriter:
    return TweetWriter.from_pretrained()


def test_the_stages_of_a_call_add_up_to_it(writer):
    (photo,) = lions(1)
    before = writer_module.sketch
    with stages.timed_parts(torch.device("cpu")) as parts:
        split = parts.of_call(lambda number: writer.write(photo, count=2, seed=number), 1)
    assert writer_module.sketch is before  # the writer is as it was
    assert set(split.seconds) == {*stages.PARTS, "everything else"}
    assert all(seconds > 0 for seconds in split.seconds.values())
    assert 4 < split.steps < 200 and split.words > split.steps


def test_a_part_that_the_writer_no_longer_calls_is_named(monkeypatch):
    monkeypatch.setattr(stages, "PARTS", {"dream": "json:dumps"})
    with pytest.raises(BenchmarkError, match=r"no longer calls json:dumps \(dream\); correct stages.PARTS"):
        stages.take_apart(lambda number: None, torch.device("cpu"), [1])


def test_timed_parts_write_the_same_tweets(writer):
    (photo,) = lions(1)
    plain = writer.write(photo, count=2, seed=5)
    with stages.timed_parts(torch.device("cpu")):
        assert writer.write(photo, count=2, seed=5) == plain


def test_the_weights_of_a_step_are_the_decoders_without_what_is_read_once(writer):
    decoder, head = writer.model.decoder, writer.model.lm_head
    expected = sum(
        parameter.numel()
        for part in (
            *(decoder.lstm_below, decoder.lstm_above, decoder.query, decoder.context_proj),
            *(decoder.output, decoder.output_norm, decoder.copy_gate, head),
        )
        for parameter in part.parameters()
    )
    assert stages.weights_a_step(decoder, head) == expected


def test_the_limit_is_never_nothing(monkeypatch):
    monkeypatch.setattr(stages, "BANDWIDTH_BYTES", 2**20)
    monkeypatch.setattr(stages, "MATRIX", 64)
    cpu = torch.device("cpu")
    assert stages.bandwidth(cpu) > 1e8


def test_a_peer_writes_as_many_texts_of_the_full_length_as_it_is_asked_for():
    vision = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    words = GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=50, bos_token_id=48, eos_token_id=49)
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(vision, words)
    config.decoder_start_token_id = config.pad_token_id = words.eos_token_id
    peer = peers.Peer(VisionEncoderDecoderModel(config).eval(), ViTImageProcessor())
    (photo,) = lions(1)
    begun = 1  # the start token
    assert peer.write(photo, 1).shape == (1, begun + peers.TOKENS)
    assert peer.write(photo, peers.SAMPLES).shape == (peers.SAMPLES, begun + peers.TOKENS)
    assert torch.equal(peer.write(photo, 1), peer.write(photo, 1))


IMPORTTIME = """import time: self [us] | cumulative | imported package
import time:       100 |        100 |   torch._C
import time:       300 |        400 | torch
a warning from somewhere
import time:      5000 |       5400 | tweetcap.cli
"""


def test_imports_are_counted_once_each_for_their_package():
    assert by_package(IMPORTTIME) == pytest.approx({"torch": 0.0004, "tweetcap": 0.005})


@pytest.mark.parametrize("thawed", [False, True])
def test_training_is_run_at_the_real_networks_size(tmp_path, thawed):
    from run_config import read_config

    texts = 4000
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(training.run(Plan(), texts, thawed=thawed), allow_unicode=True))
    config, real = read_config(path, []), read_config(training.CONFIG, [])
    assert (config.model, config.encoder, config.image_size) == (real.model, real.encoder, real.image_size)
    (stage,) = config.stages
    assert (stage.encoder_learning_rate > 0) == thawed
    steps = texts * max(stage.sources.values()) * stage.epochs / config.batches.get("batch_size")
    assert steps > (Plan().thawed_steps if thawed else 80)  # else nothing would be logged


# --- The command ----------------------------------------------------------------------------------


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """Run the command with sections that find at once what they are told to."""
    found: dict[str, Section | Exception] = {}

    def take(name: str, plan: Plan) -> Section:
        plans.append(plan)
        if isinstance(found.get(name), Exception):
            raise found[name]
        return found.get(name) or Section([Figure(f"of {name}", 1.0, "ms", 0.9, 1.1)], taken="2026-01-05")

    def run(*options: str):
        import typer

        app = typer.Typer()
        app.command()(command.main)
        return CliRunner().invoke(app, ["--output", str(tmp_path / "out"), *options])

    plans: list[Plan] = []
    run.found, run.plans, run.folder = found, plans, tmp_path / "out"
    monkeypatch.setattr(command, "take", take)
    monkeypatch.setattr(command, "BASELINE", tmp_path / "baseline.json")
    return run


def test_all_sections_are_measured_unless_some_are_named(bench):
    assert bench().exit_code == 0
    assert len(bench.plans) == len(TITLES)
    done = bench("--only", "stages,memory", "--photos", "5")
    assert done.exit_code == 0
    assert len(bench.plans) == len(TITLES) + 2
    assert bench.plans[-1] == replace(Plan(), photos=5)
    assert "of training" in done.output  # as it was taken before
    assert (bench.folder / "table.md").read_text() in done.output


def test_quick_runs_have_the_least_sizes(bench):
    assert bench("--quick", "--only", "start").exit_code == 0
    assert bench.plans == [QUICK]


@pytest.mark.parametrize("option", ["--save-baseline", "--write-docs"])
def test_quick_runs_are_not_kept(bench, option):
    done = bench("--quick", option)
    assert done.exit_code == 2 and not bench.plans


def test_an_unknown_section_is_named(bench):
    done = bench("--only", "stages,colour")
    assert done.exit_code == 2 and "colour is no section; choose of stages" in " ".join(done.output.split())


def test_what_fails_is_said_in_one_sentence_and_earlier_sections_stay(bench):
    bench.found["peers"] = BenchmarkError("it rained; come back later.")
    done = bench("--only", "stages,peers")
    assert done.exit_code == 1
    assert done.output.splitlines()[-1] == "benchmarks: it rained; come back later."
    assert (bench.folder / "results.json").exists()


def test_a_slower_run_than_the_baseline_fails(bench):
    bench.found["stages"] = Section(ratios={"ours ÷ theirs": Estimate(1.0, 0.99, 1.01)}, taken="2026-01-05")
    assert bench("--only", "stages", "--save-baseline").exit_code == 0
    assert bench("--only", "stages").exit_code == 0
    bench.found["stages"] = Section(ratios={"ours ÷ theirs": Estimate(1.5, 1.4, 1.6)}, taken="2026-01-05")
    done = bench("--only", "stages")
    assert done.exit_code == 1 and "SLOWER stages: ours ÷ theirs" in done.output
