"""The processes among which a launcher splits one command, and what they tell the first of them at the end.

torchrun --nproc-per-node 2 -m tweetcap.cli write photos/ --output tweets.jsonl
accelerate launch --multi_gpu --num_processes 8 -m tweetcap.cli write photos/ --output tweets.jsonl
"""

import os
from dataclasses import dataclass
from datetime import timedelta

# How long the first process waits for the others. One that dies takes all with it: the launcher sees to that.
LONGEST = timedelta(days=20)


@dataclass(frozen=True)
class Processes:
    """This process among those that the launcher started.

    Attributes:
        rank: its number, from 0, over all machines.
        count: how many there are.
        local_rank: its number on its own machine.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @classmethod
    def from_environment(cls) -> "Processes":
        """Read what torchrun, accelerate and others of their kind say; without them there is one process."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        return cls(*(int(os.environ.get(name) or default) for name, default in zip(names, (0, 1, 0), strict=True)))

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def device(self) -> str | None:
        """Return the processor that is this process's own; None leaves the choice to the writer."""
        import torch

        if self.count == 1:
            return None
        if os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true" or not torch.cuda.is_available():
            return "cpu"
        return f"cuda:{self.local_rank % torch.cuda.device_count()}"

    def sum_up(self, *numbers: int) -> list[int] | None:
        """Add up the processes' numbers once all of them got here: the first process gets the sums, the others None."""
        if self.count == 1:
            return list(numbers)
        from torch.distributed import rendezvous

        store, _, _ = next(rendezvous("env://", timeout=LONGEST))
        if not self.leads:
            store.set(str(self.rank), " ".join(map(str, numbers)))
            return None
        others = [map(int, store.get(str(rank)).split()) for rank in range(1, self.count)]
        return [sum(column) for column in zip(numbers, *others, strict=True)]
