"""Settings of labelling; conf/annotate has groups for the vocabulary and the mapping."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

from mefusion.common.errors import MefusionError


class Modality(StrEnum):
    """What of a segment is sent."""

    pictures = "pictures"
    sound = "sound"
    transcript = "transcript"


class Picture(StrEnum):
    """What a picture shows: the whole frame, with a box around the speaker's face, or that face alone."""

    frame = "frame"
    face = "face"


class TokenLimit(StrEnum):
    """What the server calls the limit of an answer's length."""

    max_tokens = "max_tokens"
    max_completion_tokens = "max_completion_tokens"


class Truth(StrEnum):
    """Whose labels the model's are compared with, see `mefusion.annotation.agreement.evaluation`."""

    meld = "meld"
    iemocap = "iemocap"
    manifest = "manifest"


@dataclass
class VocabularySettings:
    """conf/annotate/vocabulary.

    Attributes:
        name: of the vocabulary.
        labels: what each label means, in the order that decides ties.
    """

    name: str = ""
    labels: dict[str, str] = field(default_factory=dict)


@dataclass
class MappingSettings:
    """conf/annotate/mapping.

    Attributes:
        name: of the mapping.
        classes: labels of each emotion of `manifest.csv`; other labels stay as they are.
    """

    name: str = "none"
    classes: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        labels = [label for own in self.classes.values() for label in own]
        if twice := sorted({label for label in labels if labels.count(label) > 1}):
            raise MefusionError(f"mapping.classes has the label {twice[0]} twice: keep one")

    def by_label(self) -> dict[str, str]:
        """The emotion of each label."""
        return {label: emotion for emotion, labels in self.classes.items() for label in labels}


@dataclass
class ApiSettings:
    """Which model is asked, and how.

    Attributes:
        base_url: of a server that speaks OpenAI's chat completions, such as `http://localhost:8000/v1`.
        model: its name there.
        modalities: what is sent of a segment.
        structured: whether the server is given the answer's JSON schema; otherwise the prompt alone asks for JSON.
        temperature: of sampling; None leaves it to the server.
        seed: of sampling; each run, and each further try, gets another one that follows from it. None sends none.
        max_tokens: limit of an answer's length.
        token_limit: what the server calls that limit.
        concurrency: number of segments at once.
        timeout_s: limit of a call, s.
        backoff_s: first wait after a failed call, s; each further one is twice as long, up to a minute.
    """

    base_url: str | None = None
    model: str | None = None
    modalities: list[Modality] = field(default_factory=lambda: [*Modality])
    structured: bool = True
    temperature: float | None = 1.0
    seed: int | None = None
    max_tokens: int = 1024
    token_limit: TokenLimit = TokenLimit.max_tokens
    concurrency: int = 4
    timeout_s: float = 120.0
    backoff_s: float = 1.0

    def __post_init__(self) -> None:
        _require("api.modalities", self.modalities, bool(self.modalities), "one or more of pictures, sound, transcript")
        _require("api.max_tokens", self.max_tokens, self.max_tokens >= 16, "a number from 16 up")
        _require("api.concurrency", self.concurrency, 1 <= self.concurrency <= 256, "a number from 1 to 256")
        _require("api.timeout_s", self.timeout_s, 0 < self.timeout_s <= 3600, "seconds up to 3600")
        _require("api.backoff_s", self.backoff_s, 0 < self.backoff_s <= 60, "seconds up to 60")
        if self.temperature is not None:
            _require("api.temperature", self.temperature, 0 <= self.temperature <= 2, "a number from 0 to 2, or null")
        if self.base_url is not None:
            _require_url(self.base_url)


@dataclass
class RequestSettings:
    """What a segment's pictures are.

    Attributes:
        picture: see `Picture`.
        fps: pictures in a second.
        least, most: limits of the number of pictures of a segment.
        size: largest side, px.
        quality: of JPEG.
    """

    picture: Picture = Picture.frame
    fps: float = 2.0
    least: int = 4
    most: int = 16
    size: int = 512
    quality: int = 85

    def __post_init__(self) -> None:
        _require("request.fps", self.fps, 0 < self.fps <= 60, "pictures in a second, up to 60")
        _require("request.least", self.least, 1 <= self.least <= self.most, "a number from 1 to request.most")
        _require("request.most", self.most, self.most <= 256, "a number up to 256")
        _require("request.size", self.size, 32 <= self.size <= 4096, "pixels from 32 to 4096")
        _require("request.quality", self.quality, 1 <= self.quality <= 100, "a number from 1 to 100")


@dataclass
class BudgetSettings:
    """What a run may cost, over all its starts.

    Attributes:
        max_usd: limit of the cost; needs both prices.
        max_requests: limit of the number of requests, failed ones included.
        usd_per_million_input, usd_per_million_output: prices of tokens.
        tokens_per_picture, tokens_per_second: of sound; upper bounds, which are reserved for a call in flight.
    """

    max_usd: float | None = None
    max_requests: int | None = None
    usd_per_million_input: float | None = None
    usd_per_million_output: float | None = None
    tokens_per_picture: int = 1500
    tokens_per_second: int = 50

    def __post_init__(self) -> None:
        for name in ("max_usd", "max_requests", "usd_per_million_input", "usd_per_million_output"):
            value = getattr(self, name)
            _require(f"budget.{name}", value, value is None or value >= 0, "a number from 0 up, or null")
        if self.max_usd is not None and None in (self.usd_per_million_input, self.usd_per_million_output):
            raise MefusionError(
                "budget.max_usd needs the prices: give budget.usd_per_million_input and budget.usd_per_million_output"
            )


@dataclass
class EvaluateSettings:
    """Stage evaluate.

    Attributes:
        truth: format of the labels that people gave.
        path: their file; of `iemocap`, a file or a folder of them.
    """

    truth: Truth = Truth.meld
    path: str | None = None


@dataclass
class LabelSettings:
    """How segments are labelled.

    Attributes:
        api, request, budget, vocabulary: see there.
        runs: how often the model is asked about each segment.
        dry_run: whether calls, bytes and the bound of the cost are told, and nothing is sent.
    """

    api: ApiSettings = field(default_factory=ApiSettings)
    request: RequestSettings = field(default_factory=RequestSettings)
    budget: BudgetSettings = field(default_factory=BudgetSettings)
    vocabulary: VocabularySettings = field(default_factory=VocabularySettings)
    runs: int = 5
    dry_run: bool = False

    def __post_init__(self) -> None:
        require_runs(self.runs)

    @property
    def labels(self) -> Sequence[str]:
        """The vocabulary's labels."""
        return [*self.vocabulary.labels]


def require_runs(runs: int) -> None:
    """Check the number of runs.

    Raises:
        MefusionError: it is no number from 1 to 100.
    """
    _require("runs", runs, 1 <= runs <= 100, "a number from 1 to 100")


def require_labels(vocabulary: VocabularySettings) -> None:
    """Check that there are labels to choose from.

    Raises:
        MefusionError: there are fewer than two.
    """
    if len(vocabulary.labels) < 2:
        raise MefusionError(
            f"vocabulary={vocabulary.name} has fewer than two labels: give them as "
            "'+vocabulary.labels={calm: at ease, tense: on guard}'"
        )


def require_server(api: ApiSettings) -> None:
    """Check that there is a model to ask.

    Raises:
        MefusionError: the address or the model is not given.
    """
    if api.base_url is None:
        raise MefusionError(
            "api.base_url is not given: name the server that faces and voices may be sent to, such as "
            "http://localhost:8000/v1, or run stage=extract or dry_run=true"
        )
    if not api.model:
        raise MefusionError("api.model is not given: name a model of the server")


def _require_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise MefusionError(f"api.base_url={url}: give an address such as http://localhost:8000/v1")
    if parts.username or parts.password or parts.query:
        raise MefusionError("api.base_url holds a name, a password or a key: give it without, and the key as "
                            "OPENAI_API_KEY in the environment")  # fmt: skip


def _require(key: str, value: object, allowed: bool, wanted: str) -> None:
    if not allowed:
        raise MefusionError(f"{key}={value}: give {wanted}")
