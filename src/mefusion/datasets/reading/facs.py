"""Facial action units as coders write them, parsed into numbers with side and intensity.

Tables mix `4+7`, `L12 + 61`, `4+6+7+9+43E`, `(R6 or R12)+R15` and remarks. Only what is surely an action unit
is read as one; the rest is kept as a remark.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_SIDE = "[LRTBAU]"  # left, right, top, bottom, asymmetric, unilateral
_UNIT = re.compile(
    rf"""
    (?<![A-Z])(?P<side>{_SIDE}(?:/{_SIDE})?)?\s*
    (?P<number>\d{{1,2}})\s*
    (?P<intensity>[A-E](?:/[A-E])?(?![A-Z]))?\s*
    (?P<doubt>\?)?
    """,
    re.IGNORECASE | re.VERBOSE,
)
_TERM = re.compile(r"\s*[+,;]\s*(?![^()]*\))")  # separators outside parentheses
# What may stand between alternatives, as in "(R6 or R12)".
_BETWEEN = re.compile(r"(?:\s|[()?]|\bor\b)*", re.IGNORECASE)


@dataclass(frozen=True)
class ActionUnit:
    """One action unit of a clip's coding.

    Attributes:
        number: as in the Facial Action Coding System.
        side: of the face: `L`, `R`, `T`, `B`, `A` (asymmetric), `U` (unilateral), two of them as in `A/L`;
            empty is both sides.
        intensity: `A` (trace) to `E` (maximum), or two as in `A/B`; empty where it was not coded.
        certain: whether the coder was sure; alternatives are not.
    """

    number: int
    side: str = ""
    intensity: str = ""
    certain: bool = True

    def __str__(self) -> str:
        return f"{self.side}{self.number}{self.intensity}{'' if self.certain else '?'}"


def parse(text: str) -> tuple[tuple[ActionUnit, ...], str | None]:
    """Action units of a coding, and what of it is none.

    Terms are separated by `+` (or `,` or `;`). Alternatives (`14A or 17A`) and units in a remark's parentheses
    (`ref(7B)`) are uncertain, and their text is kept as a remark too.

    Returns:
        The units in the order of the text, and the remarks joined by `; `, None where there is none.
    """
    units: list[ActionUnit] = []
    remarks: list[str] = []
    for term in filter(None, map(str.strip, _TERM.split(text.strip()))):
        if whole := _UNIT.fullmatch(term):
            units.append(_unit(whole))
            continue
        remarks.append(term)
        units.extend(_alternatives(term))
    return tuple(units), "; ".join(remarks) or None


def canonical(units: Iterable[ActionUnit]) -> str | None:
    """Text that `parse` reads back as the same units; None where there is none."""
    return "+".join(map(str, units)) or None


def columns(text: str | None) -> dict[str, str | None]:
    """The clip table's columns of a coding."""
    units, remarks = parse(text or "")
    return {"action_units": canonical(units), "action_unit_remarks": remarks}


def _alternatives(term: str) -> list[ActionUnit]:
    """Units of `14A or 17A`, `(R6 or R12)` and `ref(7B)`; none where the term says anything else."""
    inner = re.fullmatch(r"\s*[A-Za-z]*\s*(\(.*\))\s*\??", term)  # a word may stand before parentheses
    listed = inner[1] if inner else term
    if not re.search(r"\bor\b|[()]", listed, re.IGNORECASE) or _BETWEEN.fullmatch(_UNIT.sub(" ", listed)) is None:
        return []
    return [_unit(found, certain=False) for found in _UNIT.finditer(listed)]


def _unit(found: re.Match[str], *, certain: bool = True) -> ActionUnit:
    side, number, intensity, doubt = found.group("side", "number", "intensity", "doubt")
    return ActionUnit(int(number), (side or "").upper(), (intensity or "").upper(), certain and not doubt)
