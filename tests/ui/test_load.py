"""The load test itself, small: a fresh app.py, four visitors, some nonsense."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*options: str) -> dict:
    command = [sys.executable, str(ROOT / "benchmarks" / "load.py"), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_four_visitors_at_once_all_get_their_tweets():
    figures = run("--visitors", "4", "--seconds", "6", "--think", "0.2")
    assert set(figures["outcomes"]) == {"tweets"}
    assert figures["answers"] >= 4
    assert 0 < figures["median_s"] <= figures["p95_s"]
    assert figures["peak_mb"] > 100
