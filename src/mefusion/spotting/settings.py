"""Settings of spotting."""

from dataclasses import dataclass, field
from enum import StrEnum

from mefusion.common.errors import MefusionError


class Method(StrEnum):
    """How events are found; see `mefusion.spotting.events` and `mefusion.spotting.apex_score`."""

    displacement = "displacement"
    apex_score = "apex_score"


@dataclass
class Thresholds:
    """How far a region has to move, % of the inter-ocular distance.

    Attributes:
        keep: displacement from rest that is motion.
        brow, mouth, nose: displacement that makes a motion an event.
        noise: each is at least this many times the recording's own noise; 0 means that noise does not count.
    """

    keep: float = 1.3
    brow: float = 1.7
    mouth: float = 1.75
    nose: float = 2.0
    noise: float = 4.0

    def of(self, region: str) -> float:
        """Threshold of a region."""
        return getattr(self, region.partition("_")[0])


@dataclass
class SpottingSettings:
    """conf/spotting: how events are found in recordings.

    Attributes:
        method: see `Method`.
        face: whose events: `largest`, `all`, or the number of a track.
        rate: measurements in a second; frames of faster recordings in between are not measured.
        low_pass: motion faster than this is noise, Hz.
        thresholds: see `Thresholds`.
        extend: share of an event's peak to which it reaches on both sides.
        shortest, longest: limits of an event's duration, s.
        peak: of method `apex_score`: place of the threshold between the mean and the maximum of the score, 0..1.
        k: of method `apex_score`: half of the duration of a micro- and of a macro-expression, s, the time between two
            frames that are compared; None means that of training labels, where there are any, else
            `mefusion.spotting.apex_score.HALVES`.

    Raises:
        MefusionError: a value is not allowed.
    """

    method: Method = Method.displacement
    face: str = "largest"
    rate: float = 30.0
    low_pass: float = 5.0
    thresholds: Thresholds = field(default_factory=Thresholds)
    extend: float = 0.2
    shortest: float = 0.1
    longest: float = 6.5
    peak: float = 0.55
    k: list[float] | None = None

    def __post_init__(self) -> None:
        self.face = str(self.face)
        if self.face not in ("largest", "all") and not (self.face.isdecimal() and int(self.face) > 0):
            raise MefusionError(f"face={self.face}: give largest, all, or the number of a track from 1 up")
        if not 0 < 2 * self.low_pass < self.rate <= 1000:
            raise MefusionError(
                f"spotting.low_pass={self.low_pass} with spotting.rate={self.rate}: give a low pass above 0, and a "
                "rate of more than two times the low pass, at most 1000"
            )
        if not 0 < self.extend < 1:
            raise MefusionError(f"spotting.extend={self.extend}: give a number above 0 and below 1")
        if not self.low_pass > 0:
            raise MefusionError(f"spotting.low_pass={self.low_pass}: give a number above 0")
        if not 0 <= self.shortest < self.longest:
            raise MefusionError(f"spotting.shortest={self.shortest}: give seconds from 0 up, below spotting.longest")
        for name, value in vars(self.thresholds).items():
            if not (value > 0 or (name == "noise" and value == 0)):
                raise MefusionError(f"spotting.thresholds.{name}={value}: give a number above 0")
        if not 0 < self.peak < 1:
            raise MefusionError(f"spotting.peak={self.peak}: give a number above 0 and below 1")
        if self.k is not None and not (len(self.k) == 2 and all(0 < half <= 4 for half in self.k)):
            raise MefusionError(f"spotting.k={self.k}: give two numbers of seconds above 0, at most 4, or null")

    @property
    def wanted(self) -> str | int:
        """`largest`, `all`, or a number."""
        return int(self.face) if self.face.isdecimal() else self.face
