"""Recordings that cannot be spotted, results that are damaged, and settings of mefusion-spot that make no sense."""

from pathlib import Path

from ..cases import Case, Change, Expected, table
from ..changes import both, cut, flip, make_pipe, put_file, put_folder, put_link, remove, write
from .media import picture

SPOT = "mefusion-spot videos/face.mp4 --no-overlay"
FOLDER = "mefusion-spot videos --no-overlay"
VIDEO, RESULT = "videos/face.mp4", "outputs/spot/face"
FOUND = "face.mp4: "


def sound(folder: Path) -> None:
    """Put a file that has sound alone in the recording's place."""
    from fake_videos import write_sound

    write_sound(folder / VIDEO)


def unwritable(folder: Path) -> None:
    """Put a link that leads nowhere in the place of the results."""
    put_link("outputs", "/proc/nothing")(folder)


FILES: list[tuple[str, Change, str]] = [
    ("an empty file", write(VIDEO, b""), VIDEO),
    ("text", write(VIDEO, "no video\n"), VIDEO),
    ("zeros", write(VIDEO, bytes(9000)), VIDEO),
    ("half a file", cut(VIDEO, 0.5), VIDEO),
    ("a header alone", cut(VIDEO, 0.01), VIDEO),
    ("sound alone", sound, "has no picture"),
    ("a folder", put_folder(VIDEO), "holds no video"),
    ("no file", remove(VIDEO), "is not there"),
    ("a link to nothing", put_link(VIDEO, "nothing.mp4"), "is not there"),
    ("a link to itself", put_link(VIDEO, "face.mp4"), "face.mp4"),
    ("a pipe", make_pipe(VIDEO), "no regular file"),
]
LINES = [
    ("standard input", "mefusion-spot -", "standard input"),
    ("a path that is too long", f"mefusion-spot {'a' * 300}.mp4", "too long"),
    ("a folder without videos", "mefusion-spot data", "no video"),
    ("a face that is nobody's", f"{SPOT} --face nobody", "face=nobody"),
    ("face 0", f"{SPOT} --face 0", "face=0"),
    ("an unknown method", f"{SPOT} --method magic", "spotting=magic"),
    ("an unknown setting", f"{SPOT} spotting.speed=2", "spotting.speed"),
    ("a setting that is text", f"{SPOT} spotting.rate=fast", "spotting.rate"),
    ("a rate of nothing", f"{SPOT} spotting.rate=0", "spotting.rate=0"),
    ("a rate that is no number", f"{SPOT} spotting.rate=nan", "spotting.rate=nan"),
    ("a low pass that is too high", f"{SPOT} spotting.low_pass=40", "spotting.low_pass=40"),
    ("events longer than the longest", f"{SPOT} spotting.shortest=9", "spotting.shortest=9"),
    ("a threshold below zero", f"{SPOT} spotting.thresholds.brow=-1", "spotting.thresholds.brow=-1"),
    ("a threshold that is text", f"{SPOT} spotting.thresholds.brow=low", "spotting.thresholds.brow"),
    ("a setting without a value", f"{SPOT} spotting.rate=", "spotting.rate"),
    ("a setting that cannot be read", f"{SPOT} spotting.rate=[", "spotting.rate"),
    ("an output that cannot be", f"{SPOT} --output /proc/nothing", "/proc/nothing"),
    ("an output that is a file", f"{SPOT} --output {VIDEO}", VIDEO),
]
RESULTS: list[tuple[str, Change, str]] = [
    ("recording.json is empty", write(f"{RESULT}/recording.json", ""), FOUND),
    ("recording.json is text", write(f"{RESULT}/recording.json", "text"), FOUND),
    ("recording.json is a list", write(f"{RESULT}/recording.json", "[1]"), FOUND),
    ("recording.json is gone", remove(f"{RESULT}/recording.json"), FOUND),
    ("the page is gone", remove(f"{RESULT}/page.html"), FOUND),
]  # fmt: skip
DAMAGED: list[tuple[str, Change, str]] = [
    ("events.csv is gone", remove(f"{RESULT}/events.csv"), RESULT),
    ("events.csv is empty", write(f"{RESULT}/events.csv", ""), RESULT),
    ("events.csv is another table", write(f"{RESULT}/events.csv", "a,b\n1,2\n"), RESULT),
    ("events.csv is binary", write(f"{RESULT}/events.csv", bytes(range(256))), RESULT),
    ("frames.parquet is gone", remove(f"{RESULT}/frames.parquet"), RESULT),
    ("frames.parquet is cut", cut(f"{RESULT}/frames.parquet", 0.5), RESULT),
    ("frames.parquet is text", write(f"{RESULT}/frames.parquet", "text"), RESULT),
    ("frames.parquet is a folder", put_folder(f"{RESULT}/frames.parquet"), RESULT),
    ("frames.parquet has a flipped bit", flip(f"{RESULT}/frames.parquet", 0.5), RESULT),
]
PART = (
    "again: a part that is no JSON",
    both(remove(f"{RESULT}/recording.json"), write(f"{RESULT}/.parts/00000.json", "{")),
    FOUND,
)
CASES = [
    *table("recordings", "recordings", SPOT, FILES),
    *table("recordings", "recordings", SPOT, [("outputs is a file", put_file("outputs"), "outputs"), ("outputs leads nowhere", unwritable, "outputs")]),
    *(case for name, line, word in LINES for case in table("recordings", "recordings", line, [(name, None, word)])),
    *table("recordings", "recordings", FOLDER, [("the others are spotted", write("videos/text.mp4", "no video"), "text.mp4", FOUND)], expected=Expected.told),
    *table("recordings", "recordings", FOLDER, [("a picture named mp4", write("videos/other.mp4", picture()), FOUND)], expected=Expected.told),
    *table("recordings", "recordings", SPOT, [(f"again: {name}", *rest) for name, *rest in RESULTS], expected=Expected.works),
    *table("recordings", "recordings", SPOT, [("again", None, FOUND)], expected=Expected.works),
    *table("recordings", "recordings", SPOT, [PART], expected=Expected.works, may_go=("00000.json",)),
    Case("recordings", "no room from the start", "recordings", (tuple(f"{SPOT} --output new".split()),), ("free disk space",), alone=True, limits={"RLIMIT_FSIZE": 2000}),
    *table("recordings", "recordings", SPOT, [(f"again: {name}", *rest) for name, *rest in DAMAGED]),
    Case(
        "recordings", "no room", "recordings", (tuple(SPOT.split()),), ("page.html", "free disk space"),
        remove(f"{RESULT}/page.html"), alone=True, limits={"RLIMIT_FSIZE": 9000},
    ),
]  # fmt: skip
