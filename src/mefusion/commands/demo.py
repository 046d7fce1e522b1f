"""`mefusion-demo BUNDLE`: a page in the browser of this machine that finds and names the expressions of a video."""

import argparse
import html
import os
import shlex
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mefusion.common.errors import MefusionError
from mefusion.common.stopping import stoppable

# --help has to answer at once, and Ctrl-C from the start: what takes time to import comes in where it is used.
if TYPE_CHECKING:
    import pandas as pd

    from mefusion.inference.predictor import Predictor

PROGRAM = "mefusion-demo"
HOST = "127.0.0.1"  # never another: faces stay on this machine
PORT = 7860
REMOVED = "what was uploaded is removed"
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

# Sent with each answer: the browser then asks no other host, whatever gradio's parts would load from elsewhere.
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; form-action 'self'"

FONTS = ("system-ui", "DejaVu Sans", "sans-serif")  # of this machine, as those of page.html

# gradio's tools to cut a video need a program from another host.
STYLE = """
[aria-label*="Trim"], [aria-label*="trim"] { display: none; }
#summary .wide { overflow-x: auto; }
#summary table, #summary tr { border: 0; }
#summary table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
#summary th, #summary td { padding: .25rem 1rem .25rem 0; text-align: left; vertical-align: top; white-space: nowrap; }
#summary th, #summary td { border: 0; border-bottom: 1px solid var(--border-color-primary); }
#summary td:last-child { min-width: 12rem; white-space: normal; }
#page iframe { width: 100%; height: 90vh; border: 1px solid var(--border-color-primary); background: #fff; }
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Serve the page until Ctrl-C. An error is printed as one sentence; the exit code is then 1.

    Args:
        argv: the command line's arguments; by default those of the process.
    """
    argv = sys.argv[1:] if argv is None else argv
    arguments = _parser().parse_args(argv)
    with stoppable(PROGRAM, REMOVED):
        from mefusion.configuration.cli import exit_on_error

        with exit_on_error(PROGRAM):
            serve(arguments.bundle, arguments.port, command=shlex.join([PROGRAM, *argv]))


def serve(bundle: Path, port: int, *, command: str) -> None:
    """Serve the page on this machine only, until the process is stopped; then remove what was uploaded.

    Raises:
        MefusionError: gradio is not installed, the bundle cannot be used on recordings, or the port is in use.
    """
    with tempfile.TemporaryDirectory(prefix=f"{PROGRAM}-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        gradio = import_gradio(folder / "uploads")
        from mefusion.inference.events import require_faces
        from mefusion.inference.predictor import load_bundle

        predictor = load_bundle(bundle)
        require_faces(predictor)
        analysis = Analysis(predictor, folder, command)
        try:
            page = make_page(gradio, analysis)
            launch(gradio, page, port)
            print(f"{PROGRAM}: open http://{HOST}:{port} in a browser of this machine; Ctrl-C ends it", flush=True)
            while page.is_running:
                time.sleep(0.5)
        finally:
            analysis.stop()


def import_gradio(uploads: Path) -> Any:
    """Import gradio so that it asks no other host and keeps nothing, whatever the environment says.

    Args:
        uploads: folder of what is uploaded.

    Raises:
        MefusionError: it is not installed.
    """
    for name in [*os.environ]:  # a proxy would be asked for this machine, too
        if name.startswith("GRADIO_") or name.upper().endswith("_PROXY"):
            del os.environ[name]
    os.environ |= {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_RUN_HISTORY": "False",
        "GRADIO_TEMP_DIR": str(uploads),
        "HF_HUB_OFFLINE": "1",
    }
    try:
        import gradio
    except ModuleNotFoundError as error:
        raise MefusionError(f"the page needs {error.name}: pip install 'mefusion[demo]'") from error
    return gradio


class Analysis:
    """Finds and names the expressions of one video after another.

    Args:
        predictor: names the events.
        folder: of the results; each video gets a folder in it.
        command: that the results tell.
    """

    def __init__(self, predictor: "Predictor", folder: Path, command: str):
        from mefusion.commands.spot import resolve_spotting

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
        from mefusion.clips.stream import Stream
        from mefusion.commands.spot import process

        with self._busy:
            try:
                folder, stream = Path(tempfile.mkdtemp(dir=self._folder)), Stream(video)
                seconds = stream.facts().seconds

                @contextmanager
                def shown(stage: str) -> Iterator[Callable[[float], None]]:
                    def told(time: float) -> None:
                        if self._stopped.is_set():
                            raise MefusionError(f"{PROGRAM} is being stopped")
                        say(stage or "finding expressions", time, seconds)

                    told(0.0)
                    yield told

                spotted, problems = process(
                    stream, folder, self._settings, self.predictor, command=self._command, overlay=overlay, shown=shown
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
    recording: str, seconds: float, events: "pd.DataFrame", problems: Sequence[str], classes: Sequence[str]
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
    import pandas as pd

    from mefusion.report.recording.curves import clock
    from mefusion.report.recording.page import PROBABILITY, warnings_of

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.2f}"

    shown = [
        {
            "event": row["event"],
            "min:s": f"{clock(row['onset_time'])} to {clock(row['offset_time'])}",
            "kind": row["kind"],
            "name": row["prediction"] or "",
            **{f"p({name})": number(row[PROBABILITY + name]) for name in classes},
            "warnings": " ".join(warnings_of(row)),
        }
        for row in rows
    ]
    with pd.option_context("display.max_colwidth", None):
        return pd.DataFrame(shown).to_html(index=False, border=0)


def make_page(gradio: Any, analysis: Analysis) -> Any:
    """The page: a video in; the events, the recording's page, the overlay and files out."""
    with gradio.Blocks(title=PROGRAM, analytics_enabled=False) as page:
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


def introduce(predictor: "Predictor") -> str:
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


class _Policy:
    """ASGI middleware that adds `POLICY` to each answer."""

    def __init__(self, app: Any):
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", POLICY.encode())]
            await send(message)

        await self._app(scope, receive, send_with_policy)


def launch(gradio: Any, page: Any, port: int) -> None:
    """Start the server in a thread.

    Raises:
        MefusionError: the port is in use.
    """
    from starlette.middleware import Middleware

    try:
        page.launch(
            server_name=HOST,
            server_port=port,
            share=False,
            prevent_thread_lock=True,
            quiet=True,
            footer_links=[],
            ssr_mode=False,
            mcp_server=False,
            enable_monitoring=False,
            theme=gradio.themes.Default(font=FONTS, font_mono="monospace"),
            css=STYLE,
            app_kwargs={"middleware": [Middleware(_Policy)]},
        )
    except OSError as error:
        raise MefusionError(f"port {port} cannot be used: give another one, such as --port {port + 1}") from error


def _port(text: str) -> int:
    if not text.isdecimal() or not 1024 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port: give a number from 1024 to 65535")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Open a page in the browser of this machine that finds and names the expressions of a video.",
        epilog="A name is a guess of a network about a movement. It is not what a person feels, and no sign of a lie.",
    )
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="folder that mefusion-export has written")
    parser.add_argument("--port", metavar="PORT", type=_port, default=PORT, help=f"of the page (default: {PORT})")
    return parser


if __name__ == "__main__":
    main()
