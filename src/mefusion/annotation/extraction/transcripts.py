"""The words of a segment."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import av

from mefusion.annotation.extraction.media import read_sound
from mefusion.annotation.extraction.segments import Span
from mefusion.annotation.extraction.settings import Transcript, TranscriptSettings
from mefusion.annotation.extraction.speech import require
from mefusion.clips.stream import open_media
from mefusion.common.errors import MefusionError, first_line

SUBTITLES = (".srt", ".vtt")
_MARKUP = re.compile(r"<[^>]*>|\{\\[^}]*\}")


def transcribe(path: Path, segments: Sequence[Span], settings: TranscriptSettings) -> list[str]:
    """The words of each segment; empty where they are not known.

    Args:
        path: of the video.
        segments: s.
        settings: of transcripts.

    Raises:
        MefusionError: subtitles cannot be read, or faster-whisper cannot be used.
    """
    if settings.name == Transcript.files:
        cues = read_subtitles(path)
        return [words_of(cues, segment) for segment in segments]
    if settings.name == Transcript.faster_whisper and segments:
        listen = _whisper(settings)
        return [listen(path, segment) for segment in segments]
    return [""] * len(segments)


def read_subtitles(path: Path) -> list[tuple[float, float, str]]:
    """Start, end (s) and words of the subtitles beside a video, `<stem>.srt` or `<stem>.vtt`; none if there are none.

    Raises:
        MefusionError: the file cannot be read.
    """
    file = next((path.with_suffix(suffix) for suffix in SUBTITLES if path.with_suffix(suffix).is_file()), None)
    if file is None:
        return []
    cues = []
    with open_media(file) as container:
        if not container.streams.subtitles:
            raise MefusionError(f"{file} holds no subtitles: correct it, or give transcript=none")
        try:
            for packet in container.demux(container.streams.subtitles[0]):
                if packet.pts is None or packet.duration is None or packet.time_base is None:
                    continue
                start, length = float(packet.pts * packet.time_base), float(packet.duration * packet.time_base)
                words = _MARKUP.sub("", bytes(packet).decode("utf-8", errors="replace"))
                cues.append((start, start + length, " ".join(words.split())))
        except av.FFmpegError as error:
            raise MefusionError(f"{file} cannot be read as subtitles ({first_line(error)}): correct it") from error
    return cues


def words_of(cues: Sequence[tuple[float, float, str]], segment: Span) -> str:
    """Words of the subtitles whose middle lies in a segment."""
    return " ".join(words for start, end, words in cues if words and segment[0] <= (start + end) / 2 <= segment[1])


def _whisper(settings: TranscriptSettings) -> Callable[[Path, Span], str]:
    package = require("faster_whisper", "pip install faster-whisper", setting="transcript=faster_whisper")
    try:
        model = package.WhisperModel(settings.model, device="cpu", compute_type="int8")
    except Exception as error:  # of the network, of files, of the package itself
        raise MefusionError(f"transcript.model={settings.model} cannot be loaded: {first_line(error)}") from error

    def listen(path: Path, segment: Span) -> str:
        parts, _ = model.transcribe(read_sound(path, *segment), language=settings.language)
        return " ".join(part.text.strip() for part in parts)

    return listen
