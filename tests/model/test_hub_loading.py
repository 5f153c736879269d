"""A saved folder is whole: it loads in a fresh process, with the package and without it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.tiny import some_photos, tiny_model, tiny_processor, tiny_tokenizer
from tweetcap.model import save_checkpoint

BODY = """
import json, sys, torch
from transformers import AutoModelForImageTextToText, AutoProcessor, pipeline
folder, photo, trust = sys.argv[1], torch.load(sys.argv[2]), sys.argv[3] == "trust"
options = {"trust_remote_code": True} if trust else {}
pipeline_options = options or {"pipeline_class": tweetcap.model.TweetCapPipeline}
processor = AutoProcessor.from_pretrained(folder, **options)
model = AutoModelForImageTextToText.from_pretrained(folder, **options)
inputs = processor(images=photo, tone="ツッコミ", return_tensors="pt")
ids = model.generate(**inputs, max_new_tokens=10, num_beams=3, do_sample=False)
pipe = pipeline("image-to-text", model=folder, **pipeline_options)
piped = pipe(photo, tone="ツッコミ", max_new_tokens=10, num_beams=3, do_sample=False)
batch = pipe([photo, photo], tone="ツッコミ", max_new_tokens=10, num_beams=3, num_return_sequences=2, do_sample=False)
print(json.dumps({
    "ids": ids[0].tolist(),
    "text": processor.batch_decode(ids, skip_special_tokens=True)[0],
    "piped": piped[0]["generated_text"],
    "batch": [[row["generated_text"] for row in rows] for rows in batch],
    "code": sys.modules[type(model).__module__].__file__,
    "tweetcap": "tweetcap" in sys.modules,
}))
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    processor = tiny_processor(tiny_tokenizer(tmp_path_factory.mktemp("tokenizer")))
    model = tiny_model(processor.tokenizer)
    save_checkpoint(model, processor, folder / "checkpoint", half=False)
    photo = some_photos(1)[0]
    torch.save(photo, folder / "photo.pt")
    inputs = processor(images=photo, tone="ツッコミ", return_tensors="pt")
    ids = model.generate(**inputs, max_new_tokens=10, num_beams=3, do_sample=False)
    return folder, ids[0].tolist(), processor.batch_decode(ids, skip_special_tokens=True)[0]


def run_fresh(saved: Path, script: str, cwd: Path, trust: bool) -> dict:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(cwd / "modules"), "OMP_NUM_THREADS": "1"}
    arguments = [str(saved / "checkpoint"), str(saved / "photo.pt"), "trust" if trust else "no"]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_fresh_process_without_the_package_gives_the_same_text(saved, tmp_path):
    folder, ids, text = saved
    # An import hook hides the installed package: what loads is the code in the saved folder.
    hide = "import sys; sys.modules['tweetcap'] = None\n"
    answer = run_fresh(folder, hide + BODY, tmp_path, trust=True)
    assert answer["ids"] == ids
    assert answer["text"] == answer["piped"] == text
    assert answer["batch"][0] == answer["batch"][1]
    assert len(answer["batch"][0]) == 2
    assert str(tmp_path / "modules") in answer["code"]


def test_a_fresh_process_with_the_package_needs_to_trust_nothing(saved, tmp_path):
    folder, ids, text = saved
    answer = run_fresh(folder, "import tweetcap.model\n" + BODY, tmp_path, trust=False)
    assert answer["ids"] == ids
    assert answer["text"] == answer["piped"] == text
    assert str(tmp_path / "modules") not in answer["code"]
    assert answer["tweetcap"]
