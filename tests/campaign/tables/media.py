"""Pictures and videos that are damaged: the clip is named and left out, and the others are prepared."""

from io import BytesIO

import numpy as np
from PIL import Image

from ..cases import Expected, table
from ..changes import both, cell, cut, flip, make_pipe, put_file, put_folder, put_link, remove, rewrite, write
from ..templates import OWN

PREPARE = " ".join(["mefusion-prepare", *OWN, "faces=none workers=1"])
CHECK = " ".join(["mefusion-check", *OWN, "faces=none"])

CLIP = "own/frames/s1/negative"
FRAME, VIDEO = f"{CLIP}/img003.png", "own/videos/s2_surprise.avi"


def picture(size: tuple[int, int] = (64, 64), mode: str = "RGB", form: str = "PNG") -> bytes:
    """A picture as a file."""
    stream = BytesIO()
    Image.fromarray(np.full((*size[::-1], 3), 99, np.uint8)).convert(mode).save(stream, form)
    return stream.getvalue()


def huge(content: bytes) -> bytes:
    """A PNG whose header says that it is 60000 x 60000."""
    return content[:16] + (60000).to_bytes(4, "big") * 2 + content[24:]


FRAMES = [
    ("an empty frame", write(FRAME, b"")),
    ("half a frame", cut(FRAME, 0.5)),
    ("a frame without its end", cut(FRAME, 0.9)),
    ("a frame's header alone", cut(FRAME, 0.02)),
    ("a flipped bit in a frame", flip(FRAME, 0.5)),
    ("a flipped bit in a frame's header", flip(FRAME, 0.004)),
    ("text as a frame", write(FRAME, "no picture\n")),
    ("zeros as a frame", write(FRAME, bytes(5000))),
    ("a frame that claims 60000 px", rewrite(FRAME, huge)),
    ("a frame of another size", write(FRAME, picture((32, 48)))),
    ("a folder as a frame", put_folder(FRAME)),
    ("a frame that is a link to nothing", put_link(FRAME, "nothing.png")),
    ("a frame that is a link to itself", put_link(FRAME, "img003.png")),
    ("a frame that is a pipe", make_pipe(FRAME)),
    ("a frame twice", write(f"{CLIP}/other3.png", picture())),
]
OUTSIDE = [("a folder that is a link outside", put_link(CLIP, "/usr/share"), "negative", "outside")]
CLIPS = [
    ("a frame that is a link outside", put_link(FRAME, "/etc/hostname"), "negative"),
    ("a clip's folder is gone", remove(CLIP), CLIP),
    ("a clip's folder is a file", put_file(CLIP), CLIP),
    ("a clip's folder is empty", both(remove(CLIP), put_folder(CLIP)), "no numbered images"),
    ("no numbers", both(remove(CLIP), write(f"{CLIP}/onset.png", picture())), "no numbered images"),
    ("one frame", both(remove(CLIP), write(f"{CLIP}/img1.png", picture())), CLIP),
    ("a video is gone", remove(VIDEO), VIDEO),
    ("a video is empty", write(VIDEO, b""), VIDEO),
    ("a video is text", write(VIDEO, "no video\n"), VIDEO),
    ("half a video", cut(VIDEO, 0.5), VIDEO),
    ("a video's header alone", cut(VIDEO, 0.1), VIDEO),
    ("a video is zeros", write(VIDEO, bytes(9000)), VIDEO),
    ("a video is a folder", put_folder(VIDEO), "s2_surprise"),
    ("a video is a picture", write(VIDEO, picture()), VIDEO),
    ("a video past its end", cell("own/manifest.csv", "offset", "50", row=5), "s2_surprise"),
    ("a video from behind its end", both(cell("own/manifest.csv", "onset", "40", row=5), cell("own/manifest.csv", "offset", "50", row=5)), "s2_surprise"),
]  # fmt: skip
AS_THEY_ARE = [
    ("grey frames", write(FRAME, picture(mode="L")), "6 of 6 clips"),
    ("a frame with a palette", write(FRAME, picture(mode="P")), "6 of 6 clips"),
    ("a JPEG named png", write(FRAME, picture(form="JPEG")), "6 of 6 clips"),
    ("a text file beside the frames", write(f"{CLIP}/notes.txt", "notes"), "6 of 6 clips"),
    ("a hidden file beside the frames", write(f"{CLIP}/.DS_Store", bytes(99)), "6 of 6 clips"),
]
CASES = [
    *table("media", "own", PREPARE, [(name, change, CLIP, "1 of 6 clips") for name, change in FRAMES], expected=Expected.told),
    *table("media", "own", PREPARE, [(*row, "1 of 6 clips") for row in CLIPS if "past" not in row[0] and "one" not in row[0]], expected=Expected.told),
    *table("media", "own", PREPARE, [row for row in CLIPS if "past" in row[0] or "one" in row[0]], expected=Expected.told),
    *table("media", "own", CHECK, [(f"check: {name}", change, "negative") for name, change in FRAMES if name != "flipped bit in a frame"], expected=Expected.told),
    *table("media", "own", PREPARE, OUTSIDE),
    *table("media", "own", PREPARE, AS_THEY_ARE, expected=Expected.works),
]  # fmt: skip
