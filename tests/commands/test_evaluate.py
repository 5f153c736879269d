"""`tweetcap evaluate` and `tweetcap sweep` as commands: what they hand on and how they fail."""

import sys
import types

import pytest
import typer
from typer.testing import CliRunner

from tweetcap.commands.evaluate import evaluate, sweep


@pytest.fixture
def run():
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(evaluate)
    app.command()(sweep)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def asked(monkeypatch):
    """What the commands hand on to functions that answer at once."""
    calls = []

    def measure(*places, **options):
        assert callable(options.pop("say"))
        calls.append((places, options))
        return "right animal: 70 %"

    monkeypatch.setitem(sys.modules, "tweetcap.evaluate.command", types.SimpleNamespace(evaluate=measure))
    monkeypatch.setitem(sys.modules, "tweetcap.evaluate.sweep", types.SimpleNamespace(sweep=measure))
    return calls


def test_evaluate_hands_its_options_on_and_prints_the_figures(run, asked, tmp_path):
    result = run("evaluate", "--corpus", tmp_path, "--split", "test", "--photos", 9, "--seed", 3, "--count", 8)
    assert result.output == "right animal: 70 %\n"
    ((_, options),) = asked
    given = {"corpus": tmp_path, "split": "test", "photos": 9, "seed": 3, "count": 8}
    assert given.items() <= options.items()
    assert all(value is None for name, value in options.items() if name not in given)


def test_options_for_drawing_do_not_go_with_predictions(run, asked, tmp_path):
    file = tmp_path / "p.jsonl"
    file.write_text("{}")
    result = run("evaluate", "--predictions", file, "--top-p", 0.5)
    assert result.exit_code == 2 and result.stderr.startswith("tweetcap: --top-p is for drawing")
    result = run("evaluate", "--predictions", file, "--describe-only")
    assert result.exit_code == 2 and result.stderr.startswith("tweetcap: --describe-only is for drawing")
    result = run("evaluate", "--corpus", tmp_path, "--temperature", 9)
    assert result.stderr == "tweetcap: --temperature is 9.0; it goes from 0.1 to 2.0.\n"
    assert asked == []


def test_sweep_reads_its_grid_and_needs_a_corpus(run, asked, tmp_path):
    result = run("sweep", "--corpus", tmp_path, "--output", tmp_path, "--temperature", "1,0.5, 0.5", "--top-p", "0.9")
    assert result.exit_code == 0
    (((corpus, _, grid), options),) = asked
    assert corpus == tmp_path
    assert grid == {"temperature": [0.5, 1.0], "guidance": [0.25, 0.5, 1.0], "top_p": [0.9]}
    assert options["photos"] == 40
    assert "give --corpus" in run("sweep", "--output", tmp_path).stderr
    wrong = run("sweep", "--corpus", tmp_path, "--output", tmp_path, "--guidance", "0.5;1")
    assert wrong.exit_code == 2 and "--guidance is 0.5;1; give numbers from 0.0 to 3.0" in wrong.stderr
    wrong = run("sweep", "--corpus", tmp_path, "--output", tmp_path, "--guidance", "nan")
    assert wrong.exit_code == 2 and "--guidance is nan" in wrong.stderr


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (ValueError("the corpus\nis empty"), 2, "tweetcap: the corpus is empty\n"),
        (OSError("disk full"), 2, "tweetcap: disk full\n"),
        (
            ModuleNotFoundError("No module named 'sacrebleu'", name="sacrebleu"),
            2,
            "tweetcap: sacrebleu is not installed; pip install tweetcap[corpus,evaluation].\n",
        ),
        (KeyboardInterrupt(), 130, "tweetcap: interrupted; run the same command again to go on where it stopped.\n"),
    ],
)
def test_what_goes_wrong_is_one_sentence(run, monkeypatch, tmp_path, error, code, sentence):
    def fails(**options):
        raise error

    monkeypatch.setitem(sys.modules, "tweetcap.evaluate.command", types.SimpleNamespace(evaluate=fails))
    result = run("evaluate", "--corpus", tmp_path, "--output", tmp_path / "out")
    assert result.exit_code == code
    assert result.stderr == sentence
