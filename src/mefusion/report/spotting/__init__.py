"""The report of spotting studies."""
