"""Training in several processes: how they share the work and exchange values.

In the usual case of one process, these functions return what they are given.
"""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")


def rank() -> int:
    """Number of this process, from 0; only process 0 writes files and prints."""
    return distributed.get_rank() if _several_processes() else 0


def processes() -> int:
    """Number of processes that train together."""
    return distributed.get_world_size() if _several_processes() else 1


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of a scalar over the processes, without a gradient; on a GPU the host does not wait for it.

    Gradients are averaged over the processes. So a sum that each divides by the mean number of its terms, in place of
    its own number, has the gradient of the mean over all terms.
    """
    if not _several_processes():
        return value
    total = value.detach().float().clone()
    distributed.all_reduce(total)
    return total / processes()


def broadcast(value: T) -> T:
    """Give every process the value of process 0."""
    if not _several_processes():
        return value
    values = [value]
    distributed.broadcast_object_list(values)
    return values[0]


def own_share(items: Sequence[T]) -> list[T]:
    """The items that this process works on.

    Every process gets equally many. Where the items cannot be divided evenly, some go to two processes.
    """
    count, each = len(items), -(-len(items) // processes())
    return [items[(n * processes() + rank()) % count] for n in range(each)]


def gather_shares(mine: Tensor, count: int) -> Tensor:
    """Put the rows of all processes together in the order of the items, each item once.

    Args:
        mine: [count / processes, rounded up, ...], one row for each item of this process's `own_share`.
        count: number of items in all.

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
