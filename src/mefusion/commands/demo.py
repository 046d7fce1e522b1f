"""`mefusion-demo [BUNDLE]`: a page in the browser of this machine that finds and names the expressions of a video."""

import argparse
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mefusion.common.errors import MefusionError
from mefusion.processes.stopping import stoppable

# --help has to answer at once, and Ctrl-C from the start: what takes time to import comes in where it is used.

PROGRAM = "mefusion-demo"
HOST = "127.0.0.1"  # never another: faces stay on this machine
PORT = 7860
FIRST_PORT, LAST_PORT = 1024, 65535  # those below need rights of the administrator
REMOVED = "what was uploaded is removed"

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


def serve(bundle: Path | None, port: int, *, command: str) -> None:
    """Serve the page on this machine only, until the process is stopped; then remove what was uploaded.

    Args:
        bundle: names the expressions; None means that which comes with mefusion.
        port: of the page.
        command: that the results tell.

    Raises:
        MefusionError: gradio is not installed, the bundle cannot be used on recordings, or the port is in use.
    """
    with tempfile.TemporaryDirectory(prefix=f"{PROGRAM}-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        gradio = import_gradio(folder / "uploads")
        from mefusion.commands.demo_page import Analysis, make_page
        from mefusion.inference.bundle import SHIPPED
        from mefusion.inference.events import require_faces
        from mefusion.inference.predictor import load_bundle

        predictor = load_bundle(bundle or SHIPPED)
        require_faces(predictor)
        analysis = Analysis(predictor, folder, command)
        try:
            page = make_page(gradio, analysis, title=PROGRAM)
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
        other = port + 1 if port < LAST_PORT else PORT
        raise MefusionError(f"port {port} cannot be used: give another one, such as --port {other}") from error


def _port(text: str) -> int:
    if not text.isdecimal() or not FIRST_PORT <= int(text) <= LAST_PORT:
        raise argparse.ArgumentTypeError(f"{text} is no port: give a number from {FIRST_PORT} to {LAST_PORT}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Open a page in the browser of this machine that finds and names the expressions of a video.",
        epilog="A name is a guess of a network about a movement. It is not what a person feels, and no sign of a lie.",
    )
    parser.add_argument(
        "bundle",
        metavar="BUNDLE",
        type=Path,
        nargs="?",
        help="folder that mefusion-export has written (default: the bundle that comes with mefusion, which has seen "
        "rendered motion only)",
    )
    parser.add_argument("--port", metavar="PORT", type=_port, default=PORT, help=f"of the page (default: {PORT})")
    return parser


if __name__ == "__main__":
    main()
