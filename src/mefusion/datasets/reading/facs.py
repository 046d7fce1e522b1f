"""Parse the codings of facial action units in annotation tables: number, side and intensity.

Tables have `4+7`, `AU12`, `L12 + 61`, `4+6+7+9+43E`, `(R6 or R12)+R15`, and remarks. Text that is not clearly an action
unit is kept as a remark.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_SIDE = "[LRTBAU]"  # left, right, top, bottom, asymmetric, unilateral
_UNIT = re.compile(
    rf"""
    (?<![A-Z])(?:AU\s*)?(?P<side>{_SIDE}(?:/{_SIDE})?)?\s*
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
        side: part of the face: `L` (left), `R` (right), `T` (top), `B` (bottom), `A` (asymmetric), `U` (unilateral), or
            two of them as in `A/L`; empty means both sides.
        intensity: `A` (trace) to `E` (maximum), or two as in `A/B`; empty if it was not coded.
        certain: whether the coder was sure; False for alternatives.
    """

    number: int
    side: str = ""
    intensity: str = ""
    certain: bool = True

    def __str__(self) -> str:
        return f"{self.side}{self.number}{self.intensity}{'' if self.certain else '?'}"


def parse(text: str) -> tuple[tuple[ActionUnit, ...], str | None]:
    """Parse a coding into action units and remarks.

    Terms are separated by `+` (or `,` or `;`). Alternatives (`14A or 17A`) and units in a remark's parentheses
    (`ref(7B)`) are uncertain, and their text is kept as a remark too.

    Returns:
        The units in the order of the text; the remarks joined by `; `, None if there are none.
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
    """Write action units as text, from which `parse` reads the same units; None if there are none."""
    return "+".join(map(str, units)) or None


def columns(text: str | None) -> dict[str, str | None]:
    """Columns of the clip table for a coding: action units and remarks."""
    units, remarks = parse(text or "")
    return {"action_units": canonical(units), "action_unit_remarks": remarks}


def _alternatives(term: str) -> list[ActionUnit]:
    """Units of terms such as `14A or 17A`, `(R6 or R12)` and `ref(7B)`; empty for any other text."""
    inner = re.fullmatch(r"\s*[A-Za-z]*\s*(\(.*\))\s*\??", term)  # a word may stand before parentheses
    listed = inner[1] if inner else term
    if not re.search(r"\bor\b|[()]", listed, re.IGNORECASE) or _BETWEEN.fullmatch(_UNIT.sub(" ", listed)) is None:
        return []
    return [_unit(found, certain=False) for found in _UNIT.finditer(listed)]


def _unit(found: re.Match[str], *, certain: bool = True) -> ActionUnit:
    side, number, intensity, doubt = found.group("side", "number", "intensity", "doubt")
    return ActionUnit(int(number), (side or "").upper(), (intensity or "").upper(), certain and not doubt)
