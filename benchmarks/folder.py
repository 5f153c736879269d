"""A folder of photos through `tweetcap write FOLDER --output`, by one process and by two, with its memory."""

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from tqdm import tqdm

from benchmarks.material import write_folder
from benchmarks.processes import python, slope
from benchmarks.results import BenchmarkError, Figure, Plan, Section

# This config, since accelerate starts several processes on a CPU only if it takes it for GPUs.
LAUNCH = ("-m", "accelerate.commands.launch", "--config_file", "training/configs/accelerate/cpu.yaml")


def measure(plan: Plan, rounds: Callable[[Iterable[int]], Iterable[int]]) -> Section:
    section = Section()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_folder(folder / "photos", plan.photos)
        outputs = []
        for processes in rounds((1, 2)):
            output = folder / f"{processes}.jsonl"
            command = ("-m", "tweetcap", "write", str(folder / "photos"), "--seed", "1", "--output", str(output))
            launch = (*LAUNCH, "--num_processes", str(processes)) if processes > 1 else ()
            with tqdm(desc=f"by {processes}", total=plan.photos, unit="photo", disable=None) as bar:

                def lines(output=output, bar=bar) -> int:
                    # With several processes there is a file a process until they have ended.
                    parts = [path for path in output.parent.glob(f"{output.name}*") if path.is_file()]
                    done = sum(path.read_bytes().count(b"\n") for path in parts)
                    bar.update(done - bar.n)
                    return done

                done = python(*launch, *command, work_done=lines)
            outputs.append(output.read_bytes())
            by = f"{processes} process{'es' * (processes > 1)}"
            section.figures += [
                Figure(f"{plan.photos} photos by {by}", done.seconds, "s"),
                Figure(f"photos a second by {by}", plan.photos / done.seconds, ""),
                Figure(f"most memory of one of {by}", done.peak_mb, "MB"),
            ]
            if processes == 1:
                section.figures.append(Figure("growth of memory a 1,000 photos", slope(done.memory), "MB"))
    if len(set(outputs)) > 1:
        raise BenchmarkError("one process and two wrote different tweets; each photo must be drawn for itself.")
    return section
