"""How to mend OpenCV, of which several packages overwrite each other's files; does not import it."""

REINSTALL = "pip install --force-reinstall --no-deps opencv-contrib-python-headless"

CURE = f"another package of OpenCV, such as opencv-python, has overwritten opencv-contrib-python-headless: {REINSTALL}"
"""The end of a sentence that says what is wrong."""
