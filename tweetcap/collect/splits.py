"""Divide posts into train, validation and test so that neither an account nor a duplicate stands on two sides.

Accounts that show the same photo or say the same text belong together: a split takes the whole of such a group. Where
accounts copy from one another so much that such groups can't fill the splits, they are divided all the same, and of
each cluster that then stands in two splits the posts in the earliest one's stay. An account keeps the split it had.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tweetcap.collect.duplicates import UnionFind

SPLITS = ("train", "validation", "test")
SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
FEWEST_ACCOUNTS = len(SPLITS)


@dataclass(frozen=True)
class SplitPost:
    """What splitting needs to know of a post.

    Attributes:
        created_at: ISO 8601 in UTC, so that strings compare as times do.
        clusters: names of the duplicate clusters of its photos and its text, which other posts may have too.
    """

    post_id: str
    account: str
    created_at: str
    clusters: tuple[str, ...] = ()

    @property
    def age(self) -> tuple[str, int, str]:
        """Sorts the oldest first; ids of posts grow with time."""
        return self.created_at, len(self.post_id), self.post_id


@dataclass(frozen=True)
class Splits:
    """Where each post goes.

    Attributes:
        posts: post_id → split; without those that were dropped.
        accounts: account → split; empty where the posts were divided one by one.
        dropped: post_id → post_id of the earlier one that it copies, for posts that bound accounts of two splits.
        by: "account", or "post" where there are too few accounts.
        groups: accounts that had to stay together, for each group of two or more.
        notes: what the user should know, a sentence each.
    """

    posts: dict[str, str]
    accounts: dict[str, str]
    dropped: dict[str, str]
    by: str
    groups: list[list[str]]
    notes: list[str] = field(default_factory=list)

    def shares(self) -> dict[str, float]:
        counts = Counter(self.posts.values())
        return {split: counts[split] / max(len(self.posts), 1) for split in SPLITS}


def assign_splits(
    posts: Sequence[SplitPost],
    shares: Mapping[str, float] = SHARES,
    previous: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Splits:
    """Divide the posts.

    The order of the posts doesn't matter. With fewer than three accounts there is nothing to hold out but posts
    of the same ones: then groups of duplicates are divided instead, which is stable when posts are added. With three
    or more, pass the accounts' splits of the last time as `previous` to keep them.

    Args:
        shares: split → its share of the posts; they are met as well as whole accounts allow.
        previous: account → split, as an earlier call returned it.
        seed: another one shuffles what is equal.

    Raises:
        ValueError: the shares aren't those of the three splits.
    """
    check_shares(shares)
    posts = sorted(posts, key=lambda post: post.age)
    previous = {account: split for account, split in (previous or {}).items() if split in SPLITS}
    if len(previous.keys() | {post.account for post in posts}) < FEWEST_ACCOUNTS:
        return _by_post(posts, shares, seed)
    units = _units(posts, shares, previous)
    # An account of nothing but copies fills no split.
    alone = {account: account if unit.divided else unit.accounts[0] for unit in units for account in unit.accounts}
    copies = _copies(posts, alone)
    own = Counter(post.account for post in posts if post.post_id not in copies)
    accounts = _fill([part for unit in units for part in unit.parts()], own, shares, previous, seed)
    dropped = _copies(posts, accounts)
    filled = {accounts[post.account] for post in posts if post.post_id not in dropped}
    if filled != {accounts[account] for account in own}:
        dropped = copies
    divided = sum(len(unit.accounts) for unit in units if unit.divided)
    note = (
        f"{divided} accounts share photos or texts, too many for one split: {len(dropped)} later copies are left out, "
        "so that the accounts can be told apart."
    )
    return Splits(
        posts={post.post_id: accounts[post.account] for post in posts if post.post_id not in dropped},
        accounts=accounts,
        dropped=dropped,
        by="account",
        groups=[unit.accounts for unit in units if len(unit.accounts) > 1 and not unit.divided],
        notes=[note] if dropped else [],
    )


def check_shares(shares: Mapping[str, float]) -> None:
    if set(shares) != set(SPLITS) or any(not 0 <= share <= 1 for share in shares.values()):
        raise ValueError(f"the shares are {dict(shares)}; give one between 0 and 1 for each of {', '.join(SPLITS)}.")
    if abs(sum(shares.values()) - 1) > 1e-6 or not shares["train"]:
        raise ValueError(f"the shares are {dict(shares)}; they must add up to 1, and train needs some.")


# --- By account ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Unit:
    """Accounts that share duplicates; divided where they can't all go to one split."""

    accounts: list[str]
    divided: bool

    def parts(self) -> list[list[str]]:
        return [[account] for account in self.accounts] if self.divided else [self.accounts]


def _units(posts: Sequence[SplitPost], shares: Mapping[str, float], previous: Mapping[str, str]) -> list[_Unit]:
    """Return the connected components of accounts, joined by clusters, each sorted."""
    accounts = sorted({post.account for post in posts})
    number = {account: index for index, account in enumerate(accounts)}
    sets = UnionFind(len(accounts))
    owner: dict[str, int] = {}
    for post in posts:
        for cluster in post.clusters:
            sets.join(owner.setdefault(cluster, number[post.account]), number[post.account])
    groups = defaultdict(list)
    for account in accounts:
        groups[sets.find(number[account])].append(account)
    sizes = Counter(post.account for post in posts)
    too_few = len(groups) < sum(share > 0 for share in shares.values())

    def is_divided(group: list[str]) -> bool:
        had = {previous[account] for account in group if account in previous}
        return len(group) > 1 and (len(had) > 1 or (not had and (too_few or _is_too_large(group, sizes, shares))))

    return [_Unit(group, is_divided(group)) for group in sorted(groups.values())]


def _is_too_large(group: Sequence[str], sizes: Counter[str], shares: Mapping[str, float]) -> bool:
    """Whether several accounts leave the others less than the held-out splits should have, and none does so alone."""
    most = shares["train"] * sizes.total() + 1e-9
    return sum(sizes[account] for account in group) > most >= max(sizes[account] for account in group)


def _copies(posts: Sequence[SplitPost], homes: Mapping[str, str]) -> dict[str, str]:
    """Return the posts that share a cluster with an earlier one of another home, and which that is.

    Args:
        posts: the oldest first.
        homes: account → what a cluster may not stand in two of.
    """
    first: dict[str, SplitPost] = {}
    copies: dict[str, str] = {}
    for post in posts:
        earlier = (first[cluster] for cluster in post.clusters if cluster in first)
        other = next((found for found in earlier if homes[found.account] != homes[post.account]), None)
        if other:
            copies[post.post_id] = other.post_id
            continue
        for cluster in post.clusters:
            first.setdefault(cluster, post)
    return copies


def _fill(
    groups: Sequence[Sequence[str]],
    sizes: Counter[str],
    shares: Mapping[str, float],
    previous: Mapping[str, str],
    seed: int,
) -> dict[str, str]:
    """Give each group a split: the one it had, or, the largest first, the one that lacks most; none stays empty."""
    wanted = [split for split in SPLITS if shares[split]]
    lacking = {split: shares[split] * sizes.total() for split in SPLITS}
    empty = set(wanted)
    accounts: dict[str, str] = {}

    def size(group: Sequence[str]) -> int:
        return sum(sizes[account] for account in group)

    def give(group: Sequence[str], split: str) -> None:
        accounts.update(dict.fromkeys(group, split))
        lacking[split] -= size(group)
        if size(group):
            empty.discard(split)

    fresh = []
    for group in groups:
        known = next((previous[account] for account in group if account in previous), None)
        if known:
            give(group, known)
        else:
            fresh.append(group)
    fresh.sort(key=lambda group: (-size(group), _hash(group[0], seed)))
    filling = sum(size(group) > 0 for group in fresh)
    for number, group in enumerate(fresh):
        open_to = wanted if filling - number > len(empty) or not empty else [s for s in wanted if s in empty]
        give(group, max(open_to, key=lambda split: lacking[split]))
    return accounts


# --- By post ------------------------------------------------------------------------------------


def _by_post(posts: Sequence[SplitPost], shares: Mapping[str, float], seed: int) -> Splits:
    """Divide groups of duplicates by the hash of their oldest post, which later posts don't change."""
    sets = UnionFind(len(posts))
    owner: dict[str, int] = {}
    for number, post in enumerate(posts):
        for cluster in post.clusters:
            sets.join(owner.setdefault(cluster, number), number)
    oldest: dict[int, str] = {}
    splits = {}
    for number, post in enumerate(posts):  # the oldest first
        name = oldest.setdefault(sets.find(number), post.post_id)
        splits[post.post_id] = _split_of(_hash(name, seed), shares)
    accounts = sorted({post.account for post in posts})
    note = (
        f"{'1 account is' if len(accounts) == 1 else f'{len(accounts)} accounts are'} too few to divide into three "
        "splits: the posts are divided, with their duplicates together. Figures on validation and test say how well "
        "these accounts are continued, not how the model does on others."
    )
    return Splits(posts=splits, accounts={}, dropped={}, by="post", groups=[], notes=[note] if posts else [])


def _split_of(position: float, shares: Mapping[str, float]) -> str:
    """Return the split at a position from 0 to 1, the held-out ones from the left."""
    for split in reversed(SPLITS):
        if position < shares[split]:
            return split
        position -= shares[split]
    return "train"


def _hash(name: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
