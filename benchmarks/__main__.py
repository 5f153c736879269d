"""Measure how fast tweetcap is, beside others and beside the machine's limit.

    python -m benchmarks                          # everything, in about 25 minutes
    python -m benchmarks --only stages,peers      # sections by name; those taken before stay in the table
    python -m benchmarks --quick                  # does it run? in about two minutes, for no figure to be quoted

Writes results.json, table.md and plot.png, and ends with 1 where a ratio is worse than baseline.json's. Needs all
extras, and a machine that has nothing else to do: the table says how much others used.
"""

import importlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from benchmarks.regression import compare, save_baseline
from benchmarks.report import TITLES, save, table, write_docs
from benchmarks.results import QUICK, BenchmarkError, Plan, Results, Section, observed

HERE = Path(__file__).parent
BASELINE = HERE / "baseline.json"
PAGE = HERE.parent / "docs" / "speed.md"


def main(
    only: Annotated[str | None, typer.Option(help=f"Sections, of {','.join(TITLES)}.", show_default="all")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Least sizes, to see that everything runs.")] = False,
    photos: Annotated[int | None, typer.Option(min=1, help="Photos in the folder.", show_default="1000")] = None,
    requests: Annotated[int | None, typer.Option(min=1, help="Requests to the server.", show_default="1000")] = None,
    output: Annotated[Path, typer.Option(help="Folder for results.")] = Path("runs/bench"),
    baseline: Annotated[bool, typer.Option("--save-baseline", help=f"Keep the ratios in {BASELINE.name}.")] = False,
    docs: Annotated[bool, typer.Option("--write-docs", help="Put table and plot into docs/speed.md.")] = False,
) -> None:
    """Measure how fast tweetcap is, beside others and beside the machine's limit."""
    names = [name.strip() for name in only.split(",")] if only else list(TITLES)
    unknown = [name for name in names if name not in TITLES]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]} is no section; choose of {', '.join(TITLES)}.")
    if quick and (baseline or docs):
        raise typer.BadParameter("--quick gives no figures to be kept; leave out --save-baseline and --write-docs.")
    sizes = {name: size for name, size in (("photos", photos), ("requests", requests)) if size}
    plan = replace(QUICK if quick else Plan(), **sizes)
    try:
        output.mkdir(parents=True, exist_ok=True)
        results = Results.go_on(output, quick)
        for name in names:
            results.sections[name] = take(name, plan)
            results.save(output)  # after each, so that a cut costs one section
        save(results, output)
        typer.echo(table(results))
        if docs:
            write_docs(results, PAGE)
        sentences, slower = compare(results, BASELINE) if not (quick or baseline) else ([], False)
        if baseline:
            save_baseline(results, BASELINE)
    except (BenchmarkError, OSError) as error:
        typer.echo(f"benchmarks: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(1) from None
    for sentence in sentences:
        typer.echo(sentence)
    if slower:
        raise typer.Exit(1)


def take(name: str, plan: Plan) -> Section:
    """Run one section behind a progress bar on a terminal."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    # Imported here: a section that isn't asked for needn't have what it measures installed.
    measure: Callable[..., Section] = importlib.import_module(f"benchmarks.{name}").measure

    def rounds(numbers: Iterable[int]) -> Iterable[int]:
        return tqdm(numbers, name, unit="round", disable=None)

    facts = Section()
    with observed(facts):
        section = measure(plan, rounds)
    return replace(section, taken=facts.taken, others=facts.others)


if __name__ == "__main__":
    typer.run(main)
