"""The page of `mefusion-demo`, and the analysis behind it."""

import html
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from mefusion.clips.stream import Stream
from mefusion.commands.recording import process
from mefusion.commands.spot import resolve_spotting
from mefusion.common.errors import MefusionError
from mefusion.inference.predictor import Predictor
from mefusion.report.recording.curves import clock
from mefusion.report.recording.page import PROBABILITY, warnings_of
from mefusion.report.recording.units import present_units, units_of

ENDING = 1.0  # s that a running analysis gets to end when the command is stopped

CAVEAT = (
    "A name is a guess of a network about a movement of the face. **It is not what a person feels, and no sign of a "
    "lie.** It is for research with people who agreed to be recorded; never for hiring, exams, diagnosis, police or "
    "border control."
)
PRIVACY = (
    "Videos and results stay on the machine that this runs on, in a temporary folder that is removed when "
    "`mefusion-demo` ends. Nothing is kept unless you download it."
)
FILES = ("events.csv", "page.html", "overlay.mp4")
"""What can be downloaded, from the folder of a result."""


class Analysis:
    """Finds and names the expressions of one video after another.

    Args:
        predictor: names the events.
        folder: of the results; each video gets a folder in it.
        command: that the results tell.
    """

    def __init__(self, predictor: Predictor, folder: Path, command: str):
        self.predictor, self._folder, self._command = predictor, folder, command
        self._settings = resolve_spotting([])
        self._busy, self._stopped = threading.Lock(), threading.Event()

    def stop(self) -> None:
        """End a running analysis, which would write into the folder after it is removed; wait until it has ended."""
        self._stopped.set()
        self._busy.acquire(timeout=ENDING)

    def __call__(
        self, video: Path, *, overlay: bool, say: Callable[[str, float, float], None]
    ) -> tuple[str, Path | None]:
        """Analyse a video.

        Args:
            video: the file.
            overlay: whether the overlay video is written.
            say: is called with a stage, the time that it has reached and the video's length, s.

        Returns:
            What was found, as HTML; and the folder of the result, None if the video cannot be used.
        """
        with self._busy:
            try:
                folder, stream = Path(tempfile.mkdtemp(dir=self._folder)), Stream(video)
                seconds = stream.facts().seconds

                @contextmanager
                def shown(stage: str) -> Iterator[Callable[[float], None]]:
                    def told(time: float) -> None:
                        if self._stopped.is_set():
                            raise MefusionError("the command is being stopped")
                        say(stage or "finding expressions", time, seconds)

                    told(0.0)
                    yield told

                spotted, problems = process(
                    stream,
                    folder,
                    self._settings.spotting,
                    self.predictor,
                    command=self._command,
                    overlay=overlay,
                    shown=shown,
                )
            except MefusionError as error:  # a person who uploads a file knows its name only
                return f"<p><strong>{html.escape(str(error).replace(str(video), video.name))}</strong></p>", None
            if not spotted.faces:
                return (
                    f"<p><strong>{html.escape(video.name)} shows no face that could be found</strong>: it must look "
                    "towards the camera, and be about 100 px wide or larger.</p>"
                ), None
            return describe(
                spotted.recording, spotted.seconds, spotted.events, problems, self.predictor.classes
            ), folder


def describe(
    recording: str, seconds: float, events: pd.DataFrame, problems: Sequence[str], classes: Sequence[str]
) -> str:
    """What was found in a recording, as HTML: a sentence, what could not be used, and a table of the events.

    Args:
        recording: name of the video.
        seconds: its length.
        events: with probabilities.
        problems: sentences.
        classes: of the network.
    """
    micro, macro = ((events["kind"] == kind).sum() for kind in ("micro", "macro"))
    text = f"{recording}: {micro} micro- and {macro} macro-expressions in {seconds:.1f} s."
    parts = [f"<p><strong>{html.escape(text)}</strong></p>"]
    parts += [f"<p>{html.escape(problem)}</p>" for problem in problems]
    if len(events):
        rows = events.astype(object).where(events.notna(), None).to_dict("records")
        parts.append(f'<div class="wide">{_table(rows, classes)}</div>')
    return "\n".join(parts)


def _table(rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> str:
    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.2f}"

    coded = any(map(units_of, rows))
    shown = [
        {
            "event": row["event"],
            "min:s": f"{clock(row['onset_time'])} to {clock(row['offset_time'])}",
            "kind": row["kind"],
            "name": row["prediction"] or "",
            **{f"p({name})": number(row[PROBABILITY + name]) for name in classes},
            **({"units above .5": present_units(row)} if coded else {}),
            "warnings": " ".join(warnings_of(row)),
        }
        for row in rows
    ]
    with pd.option_context("display.max_colwidth", None):
        return pd.DataFrame(shown).to_html(index=False, border=0)


def make_page(gradio: Any, analysis: Analysis, *, title: str) -> Any:
    """The page: a video in; the events, the recording's page, the overlay and files out."""
    with gradio.Blocks(title=title, analytics_enabled=False) as page:
        gradio.Markdown(f"# Expressions in a video\n\n{introduce(analysis.predictor)}\n\n{CAVEAT}\n\n{PRIVACY}")
        with gradio.Row():
            with gradio.Column(min_width=300):
                video = gradio.Video(
                    label="A video of a face",
                    sources=["upload", "webcam"],
                    include_audio=True,  # else gradio takes the sound out, with ffmpeg
                    webcam_options=gradio.WebcamOptions(
                        mirror=False,  # left and right are those of the picture
                        constraints={
                            "video": {"width": {"ideal": 1280}, "height": {"ideal": 720}, "frameRate": {"ideal": 60}},
                            "audio": False,
                        },
                    ),
                )
                gradio.Markdown("A video that the browser cannot play, as most `.avi`, is analysed all the same.")
                with_overlay = gradio.Checkbox(True, label="make the overlay video, which takes a third of the time")
                button = gradio.Button("Find and name expressions", variant="primary")
            with gradio.Column(min_width=300):
                overlay = gradio.Video(label="overlay.mp4", interactive=False, visible=False)
                files = gradio.Files(label="Download", interactive=False, visible=False)
        summary = gradio.HTML(elem_id="summary", min_height=120)
        report = gradio.HTML(elem_id="page")

        def nothing(text: str) -> list[Any]:
            return [text, "", gradio.update(value=None, visible=False), gradio.update(value=None, visible=False)]

        def analyse(path: str | None, wanted: bool, progress: Any = gradio.Progress()) -> Iterator[list[Any]]:  # noqa: B008
            if path is None:
                yield nothing("<p><strong>Give a video first: upload one, or record one with the webcam.</strong></p>")
                return
            yield nothing("")
            text, folder = analysis(Path(path), overlay=wanted, say=_teller(progress))
            if folder is None:
                yield nothing(text)
                return
            found = [str(folder / name) for name in FILES if (folder / name).exists()]
            yield [
                text,
                embed(folder / "page.html"),
                gradio.update(value=str(folder / "overlay.mp4") if wanted else None, visible=wanted),
                gradio.update(value=found, visible=True),
            ]

        outputs = [summary, report, overlay, files]
        video.change(lambda: nothing(""), None, outputs, show_progress="hidden", api_visibility="private")
        button.click(
            analyse,
            [video, with_overlay],
            outputs,
            show_progress_on=summary,
            concurrency_limit=1,
            api_visibility="private",
        )
    return page


def introduce(predictor: Predictor) -> str:
    """A sentence on the network: its name, its classes and how good it is known to be."""
    score = predictor.facts.get("score")
    known = "Nothing is known of how often it is right"
    if score and score.get("uf1_interval"):
        low, high = score["uf1_interval"]
        known = (
            f"On subjects that it had not seen, the same settings reached UF1 {score['uf1']:.3f} (95 % interval over "
            f"{score['subjects']} subjects {low:.3f} to {high:.3f})"
        )
    return f"The network `{predictor.name}` names {', '.join(predictor.classes)}. {known}; see the bundle's README."


def _teller(progress: Callable[..., Any]) -> Callable[[str, float, float], None]:
    """Show how far a stage is, once for each second of the video."""
    last: list[Any] = []

    def say(stage: str, time: float, seconds: float) -> None:
        if last != [stage, int(time)]:
            last[:] = [stage, int(time)]
            progress((int(time), max(round(seconds), int(time), 1)), desc=stage, unit="s")

    return say


def embed(page: Path) -> str:
    """A page inside another one: its scripts run, and reach nothing of the page around it."""
    text = page.read_text(encoding="utf-8")
    return f'<iframe title="page.html" sandbox="allow-scripts" srcdoc="{html.escape(text)}"></iframe>'
