"""Is anything slower than it was? Ratios of one run are compared with those of a run that was kept.

Times change with the machine and with its other work; ours ÷ something that ran by turns with it hardly does.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.results import BenchmarkError, Results
from benchmarks.timing import Estimate

TOLERANCE = 0.15
# What ratios depend on; other versions of packages are just what one wants to compare.
SAME = ("processor", "threads", "bfloat16", "accelerator")


def save_baseline(results: Results, path: Path) -> None:
    """Keep the ratios of a run."""
    ratios = {name: asdict(ratio) for name, ratio in ratios_of(results).items()}
    text = json.dumps({"machine": results.machine, "ratios": ratios}, ensure_ascii=False, indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def ratios_of(results: Results) -> dict[str, Estimate]:
    return {
        f"{name}: {what}": ratio for name, section in results.sections.items() for what, ratio in section.ratios.items()
    }


def compare(results: Results, path: Path) -> tuple[list[str], bool]:
    """Return sentences about what became slower, faster or can't be compared, and whether anything became slower.

    Slower is what lies above the tolerance with its whole interval, so that a noisy run raises no alarm.

    Raises:
        BenchmarkError: the baseline can't be read.
    """
    if not path.is_file():
        return [f"No baseline in {path}; keep one with --save-baseline."], False
    try:
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        theirs, before = kept["machine"], {name: Estimate(**ratio) for name, ratio in kept["ratios"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BenchmarkError(f"{path} is no baseline; write it again with --save-baseline.") from None
    different = [name for name in SAME if theirs.get(name) != results.machine.get(name)]
    if different:
        name = different[0]
        return [
            f"The baseline is of {name} {theirs.get(name)} and not {results.machine.get(name)}, and ratios change with "
            "that; keep one of this machine with --save-baseline."
        ], False
    sentences, slower = [], False
    for name, now in ratios_of(results).items():
        if name not in before:
            continue
        was = before[name].value
        change = f"{name}: {now.value:.3g}, was {was:.3g} ({now.value / was - 1:+.0%})"
        if now.low > was * (1 + TOLERANCE):
            slower = True
            sentences.append(f"SLOWER {change}")
        elif now.high < was / (1 + TOLERANCE):
            sentences.append(f"faster {change}")
    if not slower:
        sentences.append(f"Nothing is slower than the baseline by more than {TOLERANCE:.0%}.")
    return sentences, slower
