"""`tweetcap survey`: a blind questionnaire on texts and photos, from the design to the results."""

import socket
import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from tweetcap.commands.terminal import FAILED, INTERRUPTED, MISUSED, fail, one_sentence, say

app = typer.Typer(
    help="Let people judge texts under photos: make a blind study, serve it, evaluate it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Study = Annotated[Path, typer.Argument(help="Folder of the study.", show_default=False)]
EVERYWHERE = ("0.0.0.0", "::")


@app.command()
def create(
    photos: Annotated[
        Path, typer.Option(help="Folder that the photos are in, at any depth.", exists=True, file_okay=False)
    ],
    system: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=FILE.jsonl[:FIELD]",
            help="A system and its texts: predictions, what tweetcap write --output wrote, or any rows with photo or "
            "photo_id and a text. Without FIELD, the first there is of tweets, text, texts, references, captions, "
            "description; of several texts the first.",
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder for the study; it must not exist yet.")],
    template: Annotated[
        str | None,
        typer.Option(help="2021: the systems stair, tweetcap and human, rated by 35.", show_default=False),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(
            help="rating: four questions on 1 to 5. pairwise: which of two would you post?", show_default="rating"
        ),
    ] = None,
    count: Annotated[int | None, typer.Option(help="Draw so many of the photos.", min=1, show_default="all")] = None,
    items_per_rater: Annotated[int, typer.Option(help="Deal more photos than this to several raters.", min=1)] = 30,
    raters: Annotated[int | None, typer.Option(help="Let so many in.", min=1, show_default="any number")] = None,
    attention: Annotated[int, typer.Option(help="Attention checks for each rater.", min=0)] = 2,
    gold: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.jsonl",
            help='Items with a known answer. Rating: {"photo": …, "text": …, "expected": {"fits": 1}}. Pairwise: '
            '{"photo": …, "good": …, "bad": …}. Questions are natural, fits, funny, like.',
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ] = None,
    minimum_seconds: Annotated[float, typer.Option(help="Shortest time for an item.", min=0, max=600)] = 3.0,
    abandoned_after: Annotated[
        float, typer.Option(help="Hours of silence after which a rater's place is given again.", min=0.1)
    ] = 6.0,
    title: Annotated[
        list[str] | None, typer.Option(metavar="ja=TEXT|en=TEXT", help="Title of the page.", show_default=False)
    ] = None,
    consent: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ja=FILE|en=FILE", help="What a rater agrees to before the first item.", show_default=False
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Repeat a draw.", show_default="random")] = None,
) -> None:
    """Make a study: photos, each with one text of each system.

    Photos that a system has no text for are left out, and named. Ends with 0 when the study is made, 2 when it can't
    be, 130 when it was interrupted; then nothing is left behind.
    """
    from tweetcap.evaluate.survey.new_study import Source, create_study
    from tweetcap.evaluate.survey.study import CONSENT, TEMPLATES, TITLE

    options: dict[str, Any] = {"mode": mode or "rating", "raters": raters}
    try:
        sources = [Source.parse(argument) for argument in system]
        if template is not None:
            options = use_template(template, TEMPLATES, options, mode, [source.name for source in sources])
        study, notes = create_study(
            photos,
            sources,
            output,
            count=count,
            items_per_rater=items_per_rater,
            attention=attention,
            gold=gold,
            minimum_seconds=minimum_seconds,
            abandoned_after_hours=abandoned_after,
            title=TITLE | by_language("--title", title),
            consent=CONSENT | {name: read_text(file) for name, file in by_language("--consent", consent).items()},
            seed=seed,
            **options,
        )
    except KeyboardInterrupt:
        fail("interrupted; no study was made.", INTERRUPTED)
    except (OSError, ValueError) as error:
        fail(one_sentence(error))
    for note in notes:
        say(f"tweetcap: {note}")
    most = max(sum(item.block == block for item in study.items) for block in range(study.blocks))
    tasks = most + len(study.gold) + len(study.attention)
    say(
        f"{output}: {len(study.items)} photos × {len(study.systems)} systems, {study.mode} mode; {tasks} tasks a "
        f"rater; every {len(study.cells())} raters, each photo has had each {unit(study)} equally often."
    )
    say(f"Next: tweetcap survey serve {output}")


def use_template(name, templates, options: dict[str, Any], mode: str | None, systems: list[str]) -> dict[str, Any]:
    """Return the options with a template's where none was given."""
    if name not in templates:
        fail(f"--template is {name}; there is {', '.join(templates)}.")
    template = templates[name]
    if sorted(systems) != sorted(template.systems):
        wanted = " ".join(f"--system {system}=FILE.jsonl" for system in template.systems)
        fail(f"the study of {name} compares other systems than {', '.join(systems)}; give {wanted}.")
    return {"mode": mode or template.mode, "raters": options["raters"] or template.raters}


def unit(study) -> str:
    return "system" if study.mode == "rating" else "pair, either way round,"


def by_language(option: str, arguments: list[str] | None) -> dict[str, str]:
    from tweetcap.evaluate.survey.study import LANGUAGES

    values = {}
    for argument in arguments or []:
        language, equals, value = argument.partition("=")
        if language not in LANGUAGES or not equals or not value.strip():
            fail(f"{option} {argument}: write it as ja=… or en=….")
        values[language] = value.strip()
    return values


def read_text(path: str) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{path} can't be read ({one_sentence(error)}); --consent names a text in UTF-8.")
    if not text:
        fail(f"{path} is empty; raters have to know what they agree to.")
    return text


@app.command()
def serve(
    study: Study,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets other devices of your network in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 7860,
) -> None:
    """Open the questionnaire's page.

    Every answer is on the disk before the rater sees the next item, so the server can be stopped, cut or restarted
    at any time; raters go on where they were.
    """
    from tweetcap.ui.survey_page import launch_survey

    try:
        page = launch_survey(study, host, port, prevent_thread_lock=True, quiet=True)
    except ValueError as error:
        fail(one_sentence(error))
    except OSError as error:
        fail(f"the page cannot be served at {host}:{port}: {one_sentence(error)}", FAILED)
    for link in links(host, port):
        say(f"The questionnaire is at {link}")
    say("Each rater starts there, and finds a link to go on by on the page. Ctrl-C stops the server.")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        page.close(verbose=False)
        fail(f"stopped; all answers are in {study}. Run the same command again to go on.", INTERRUPTED)


def links(host: str, port: int) -> list[str]:
    """Return the page's addresses: this machine's, and the network's where it listens there."""
    if host not in EVERYWHERE:
        return [f"http://{host}:{port}/"]
    found = [f"http://127.0.0.1:{port}/"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("10.255.255.255", 1))  # sends nothing; it only picks the network's own address
            found.append(f"http://{probe.getsockname()[0]}:{port}/")
        except OSError:
            pass  # no network
    return found


@app.command()
def status(
    study: Study,
    code: Annotated[
        str | None, typer.Option(help="Say whether this completion code is genuine.", show_default=False)
    ] = None,
) -> None:
    """Say how many raters there are and how evenly the design is filled."""
    store = open_store(study)
    if code is not None:
        genuine = store.has_code(code)
        typer.echo(f"{code} is {'genuine' if genuine else 'no code of this study'}.")
        raise typer.Exit(0 if genuine else FAILED)
    now, wanted = store.status(), store.study.raters
    taken = now.finished + now.under_way
    if now.closed:
        state = "closed"
    else:
        state = "full" if wanted is not None and taken >= wanted else "open"
    fewest, most = min(now.filled.values()), max(now.filled.values())
    filled = str(fewest) if fewest == most else f"{fewest} to {most}"
    typer.echo(f"state      {state}")
    typer.echo(f"raters     {now.finished} finished, {now.under_way} under way, {now.abandoned} gave up")
    typer.echo(f"wanted     {'any number' if wanted is None else wanted}")
    typer.echo(f"answered   {now.answered} tasks")
    typer.echo(f"design     {len(now.filled)} cells, {filled} raters in each")


@app.command()
def close(
    study: Study,
    reopen: Annotated[bool, typer.Option("--reopen", help="Take answers again.")] = False,
) -> None:
    """Take no more answers, at once, also while the page is served."""
    open_store(study).set_closed(not reopen)
    say(f"{study} is {'open again' if reopen else 'closed; tweetcap survey close --reopen opens it again'}.")


def open_store(study: Path):
    from tweetcap.evaluate.survey.ratings import open_ratings

    try:
        return open_ratings(study)
    except ValueError as error:
        fail(one_sentence(error))


@app.command()
def export(
    study: Study,
    output: Annotated[
        Path | None, typer.Option(help="Folder for the tables.", file_okay=False, show_default="export in the study")
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(metavar="ORG/NAME", help="Also push them to this dataset on the Hub.", show_default=False),
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Make a dataset that everybody can read.")] = False,
) -> None:
    """Write ratings and raters as CSV and Parquet, with the systems' names.

    The folder is a dataset with a card, README.md. The card is written once: edit it, its licence too, before --push.
    Works while the page is served.
    """
    if public and not push:
        fail("--public is for --push; add --push ORG/NAME.")
    from tweetcap.evaluate.survey.export import export_study

    output = output or study / "export"
    try:
        answers, raters = export_study(study, output)
        say(f"{output}: {answers} answers of {raters} raters.")
        if push:
            from tweetcap.data.publish import push_dataset

            address, remark = push_dataset(output, push, private=not public)
            say(f"{address}{f' ({remark})' if remark else ''}")
    except (OSError, ValueError) as error:
        fail(one_sentence(error))


@app.command()
def report(
    study: Study,
    output: Annotated[
        Path | None, typer.Option(help="Folder for the report.", file_okay=False, show_default="report in the study")
    ] = None,
) -> None:
    """Write the results: one HTML file with pictures, and the tables as CSV."""
    from tweetcap.evaluate.survey.report import write_report

    try:
        typer.echo(write_report(study, output or study / "report"))
    except KeyboardInterrupt:
        fail("interrupted; run the same command again.", INTERRUPTED)
    except (OSError, ValueError) as error:
        fail(one_sentence(error))


@app.command()
def power(
    difference: Annotated[float, typer.Option(help="The least one worth seeing, in points of the scale of 1 to 5.")],
    systems: Annotated[int, typer.Option(help="Systems to compare.")] = 3,
    items: Annotated[int, typer.Option(help="Photos in the study.")] = 30,
    items_per_rater: Annotated[int | None, typer.Option(help="Photos a rater does.", show_default="all")] = None,
    chance: Annotated[float, typer.Option("--power", help="How likely the difference shall be shown.")] = 0.8,
    alpha: Annotated[float, typer.Option(help="Level of the test.")] = 0.05,
    pilot: Annotated[
        Path | None,
        typer.Option(help="Study to take the scores' spread from.", show_default="common values of such scores"),
    ] = None,
) -> None:
    """Say how many raters a study in the rating mode needs.

    With a pilot, one line for each of its questions. Ends with 1 when a question needs more photos first.
    """
    from tweetcap.evaluate.survey.statistics import DEFAULT_COMPONENTS, raters_needed, variance_components

    plan = {"systems": systems, "items": items, "items_per_rater": items_per_rater, "power": chance, "alpha": alpha}
    try:
        spreads = {"any question": DEFAULT_COMPONENTS} if pilot is None else variance_components(pilot_ratings(pilot))
    except (OSError, ValueError) as error:
        fail(one_sentence(error))
    failed = 0
    for question, components in spreads.items():
        try:
            typer.echo(f"{question}\t{raters_needed(difference, components=components, **plan)} raters")
        except ValueError as error:  # too few photos for this question, or a wrong plan, which is so for all of them
            failed += 1
            say(f"tweetcap: {question}: {one_sentence(error)}")
    if failed:
        raise typer.Exit(MISUSED if failed == len(spreads) else FAILED)


def pilot_ratings(pilot: Path):
    from tweetcap.evaluate.survey.ratings import export_ratings

    ratings = export_ratings(pilot)
    if "score" not in ratings:
        raise ValueError(f"{pilot} is a study in the pairwise mode, which has no scores; name one in the rating mode.")
    return ratings[ratings["kind"] == "item"]
