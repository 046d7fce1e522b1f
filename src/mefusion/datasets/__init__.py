"""Datasets: from an official download to the clip table."""
