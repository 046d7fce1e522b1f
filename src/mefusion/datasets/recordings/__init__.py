"""Sets of long videos, in which expressions are to be spotted: one file each, with all its facts."""
