"""What a run may cost: requests and dollars, over all its starts; calls in flight are reserved for."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from mefusion.annotation.labelling.settings import BudgetSettings


class Budget:
    """Counts what was spent and what calls in flight may cost.

    Args:
        settings: limits and prices.
        lines: earlier tries, which count too.
    """

    def __init__(self, settings: BudgetSettings, lines: Iterable[Mapping[str, Any]] = ()):
        self._settings = settings
        self.requests, self.usd = 0, 0.0
        for line in lines:
            self.requests += 1
            self.usd += line.get("usd") or 0.0
        self._in_flight: list[float] = []
        self._changed = asyncio.Condition()

    def price(self, tokens_in: int, tokens_out: int) -> float:
        """Cost of a call, USD; 0 without prices."""
        prices = self._settings.usd_per_million_input or 0.0, self._settings.usd_per_million_output or 0.0
        return (tokens_in * prices[0] + tokens_out * prices[1]) / 1e6

    async def reserve(self, usd: float) -> str | None:
        """Reserve for a call, or say which limit it would pass.

        Waits while calls in flight may turn out to cost less than is reserved for them.

        Args:
            usd: upper bound of its cost.
        """
        async with self._changed:
            while True:
                most = self._settings.max_requests
                if most is not None and self.requests + len(self._in_flight) >= most:
                    return f"budget.max_requests={most}"
                limit = self._settings.max_usd
                if limit is None or self.usd + sum(self._in_flight) + usd <= limit:
                    self._in_flight.append(usd)
                    return None
                if not self._in_flight:
                    return f"budget.max_usd={limit:g}"
                await self._changed.wait()

    async def settle(self, reserved: float, usd: float) -> None:
        """Count a call that has ended.

        Args:
            reserved: what was reserved for it.
            usd: what it cost.
        """
        async with self._changed:
            self._in_flight.remove(reserved)
            self.requests += 1
            self.usd += usd
            self._changed.notify_all()

    async def release(self, reserved: float) -> None:
        """Give back what was reserved for a call that is not made."""
        async with self._changed:
            self._in_flight.remove(reserved)
            self._changed.notify_all()
