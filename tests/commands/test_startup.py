"""A quick start leaves out what nobody misses: the same tweets, and the compiler for whoever wants it."""

import gc
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers

from tweetcap import TweetWriter
from tweetcap.commands.startup import quick_start

ROOT = Path(__file__).parents[2]


def python(script: str, *arguments: str) -> str:
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


QUICK = """
import gc, json, sys
from tweetcap.commands.startup import quick_start
with quick_start():
    from tweetcap import TweetWriter
    writer = TweetWriter.from_pretrained()
import torch
torch.set_num_threads(1)
tweets = [tweet.text for tweet in writer.write(sys.argv[1], count=3, seed=1)]
description = writer.describe(sys.argv[1])
imported = sorted({"torch._dynamo", "sympy", "scipy", "accelerate", "torch.distributed.tensor"} & sys.modules.keys())
weights = sum(float(weight.double().abs().sum()) for weight in writer.model.state_dict().values())
collects = gc.isenabled()
doubled = torch.compile(lambda number: 2 * number, backend="eager", fullgraph=True)(torch.ones(3)).tolist()
graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
import scipy.optimize
print(json.dumps([tweets, description, imported, weights, collects, doubled, graphs]))
"""


def test_a_quick_start_changes_no_word_and_whoever_compiles_afterwards_can(lion, one_thread):
    found = json.loads(python(QUICK, str(lion)))
    tweets, description, imported, weights, collects, doubled, graphs = found
    writer = TweetWriter.from_pretrained()
    assert tweets == [tweet.text for tweet in writer.write(lion, count=3, seed=1)]
    assert description == writer.describe(lion)
    assert weights == sum(float(weight.double().abs().sum()) for weight in writer.model.state_dict().values())
    assert imported == []
    assert collects
    assert doubled == [2, 2, 2] and graphs == 1


INSIDE = """
import sys
from tweetcap.commands.startup import _Postponed
postponed = _Postponed()
sys.meta_path.insert(0, postponed)
import torch
mark = torch.compiler.disable
assert mark(len) is len and mark(None, False, reason="as a decorator with arguments")(len) is len
assert "sympy" not in sys.modules
exec(sys.argv[1])
assert "sympy" in sys.modules and postponed not in sys.meta_path
postponed.leave()
import torch._dynamo.config, torch._dynamo.utils
for name, module in list(sys.modules.items()):
    if name.startswith("torch._dynamo."):
        assert type(module).__name__ != "_StandIn", name
assert torch._dynamo.config is sys.modules["torch._dynamo.config"]
assert mark(len) is not len
"""


@pytest.mark.parametrize(
    "wish",
    [
        "import torch._dynamo.config",
        "from torch._dynamo.utils import is_compile_supported; assert is_compile_supported('cpu') in (True, False)",
        "assert torch.compile(lambda x: x + 1, backend='eager', fullgraph=True)(torch.ones(1)).item() == 2",
    ],
)
def test_whoever_wants_more_than_marks_gets_the_real_compiler(wish):
    python(INSIDE, wish)


def test_nothing_is_left_out_where_transformers_was_imported_before():
    available = transformers.utils.is_accelerate_available
    with quick_start():
        assert gc.isenabled()
        assert not any(type(finder).__name__ == "_Postponed" for finder in sys.meta_path)
    assert transformers.utils.is_accelerate_available is available
    assert "disable" in dir(torch._dynamo)
