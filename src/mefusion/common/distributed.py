"""The processes of one training: what each of them does of a whole, and what they tell each other.

With one process, which is the rule, everything here is the identity.
"""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")


def rank() -> int:
    """Number of this process; the first, 0, is the one that writes and speaks."""
    return distributed.get_rank() if _several_processes() else 0


def processes() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if _several_processes() else 1


def broadcast(value: T) -> T:
    """The first process's value, for all."""
    if not _several_processes():
        return value
    values = [value]
    distributed.broadcast_object_list(values)
    return values[0]


def own_share(items: Sequence[T]) -> list[T]:
    """This process's part of some items: as many as the others', so that some come twice where they do not add up."""
    count, each = len(items), -(-len(items) // processes())
    return [items[(n * processes() + rank()) % count] for n in range(each)]


def gather_shares(mine: Tensor, count: int) -> Tensor:
    """What every process has of its `own_share`, put together in the order of the items, each once.

    Args:
        mine: [count / processes, rounded up, ...], a row an item.
        count: number of items.

    Returns:
        [count, ...], the same in every process.
    """
    if not _several_processes():
        return mine
    parts: list[Tensor] = [torch.empty(0)] * processes()
    distributed.all_gather_object(parts, mine.cpu())
    return torch.stack(parts, dim=1).flatten(0, 1)[:count]


def _several_processes() -> bool:
    return distributed.is_available() and distributed.is_initialized()
