"""The facial action units that networks are trained to tell."""

from collections.abc import Mapping

UNITS: Mapping[int, str] = {
    1: "inner brow raiser",
    2: "outer brow raiser",
    4: "brow lowerer",
    5: "upper lid raiser",
    6: "cheek raiser",
    7: "lid tightener",
    9: "nose wrinkler",
    10: "upper lip raiser",
    12: "lip corner puller",
    14: "dimpler",
    15: "lip corner depressor",
    17: "chin raiser",
}
"""Number in the Facial Action Coding System -> name, in the order of a network's outputs."""

UNIT_TASK = "action_units"
"""Name of the task, of its target and of its field in a network's output."""

PRESENT, ABSENT, UNKNOWN = 1, 0, -1
"""Labels of a unit; it is unknown where a clip has no coding, or its coder was not sure."""
