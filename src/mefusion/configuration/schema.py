"""Typed settings of the commands, so that a value such as `seeds=[abc]` is refused before anything runs.

Each group of conf/ is one dataclass, which the code uses as it is. It is defined in the package that uses it. This file
has the settings of the commands, and those that belong to no other package.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from mefusion.annotation.extraction.settings import (
    ExportSettings,
    IdentitySettings,
    SegmentSettings,
    SpeakerSettings,
    TranscriptSettings,
    VadSettings,
)
from mefusion.annotation.labelling.settings import (
    ApiSettings,
    BudgetSettings,
    EvaluateSettings,
    MappingSettings,
    RequestSettings,
    VocabularySettings,
    require_runs,
)
from mefusion.common.errors import MefusionError
from mefusion.datasets.schemes import Scheme
from mefusion.preparation.settings import FaceSettings, FlowMethod, MissingApex, ShortClips
from mefusion.spotting.settings import SpottingSettings
from mefusion.training.settings import Imbalance, OptimizerSettings, Rule, TrainingSettings
from mefusion.windows.flow import FlowSettings


@dataclass
class PrepareSettings:
    """conf/prepare.yaml: which clips are prepared, how, and into which folder.

    Attributes:
        data: a source: `_target_` and its arguments.
        labels: the label scheme.
        faces: how faces are found and aligned.
        clip_length, short_clips, missing_apex, flow: see `mefusion.preparation.settings.PreparationSettings`.
        flow_device: where torch measures TV-L1, see `mefusion.preparation.arrays.measure_flow`.
        cache_dir: folder of prepared clips.
        workers: number of processes; None means one for each core.
    """

    data: dict[str, Any] = MISSING
    labels: Scheme = field(default_factory=Scheme)
    faces: FaceSettings = field(default_factory=FaceSettings)
    clip_length: int = 8
    short_clips: ShortClips = ShortClips.interpolate
    missing_apex: MissingApex = MissingApex.midpoint
    flow: FlowMethod = FlowMethod.tvl1
    flow_device: str | None = None
    cache_dir: str = "cache"
    workers: int | None = None


@dataclass
class CheckSettings(PrepareSettings):
    """conf/check.yaml: which clips are checked.

    Attributes:
        prepared: whether the prepared clips are checked, rather than the download.
    """

    prepared: bool = False


@dataclass
class SpotSettings:
    """conf/spot.yaml: how events are found in recordings.

    Attributes:
        data: a source of recordings, `_target_` and its arguments; None means the videos of the command line.
        spotting: how events are found.
        recognise: of a dataset: folder of a study that keeps the weights of its folds, or of a bundle; None means that
            events are not named.
        workers: of a dataset: number of recordings at once; None means one for each core.
        output_dir: folder of the results.
    """

    data: dict[str, Any] | None = None
    spotting: SpottingSettings = field(default_factory=SpottingSettings)
    recognise: str | None = None
    workers: int | None = None
    output_dir: str = "outputs/spot"


class Stage(StrEnum):
    """Stages of `mefusion-annotate`; `all` is extract, label and export."""

    all = "all"
    extract = "extract"
    label = "label"
    export = "export"
    evaluate = "evaluate"


@dataclass
class AnnotateSource:
    """Which recordings are annotated.

    Attributes:
        path: a folder of videos, or one video; None if they are extracted already.
    """

    path: str | None = None


@dataclass
class AnnotateSettings:
    """conf/annotate.yaml: how recordings become labelled clips.

    Attributes:
        source: the recordings.
        output_dir: folder of the run.
        stage: what is done.
        workers: number of videos at once; None means one for each core.
        allow_broken: whether a video that cannot be read to its end is used up to there.
        vad, speaker, identity, transcript, segments, export: see `mefusion.annotation.extraction.settings`.
        api, request, budget, vocabulary, mapping, evaluate: see `mefusion.annotation.labelling.settings`.
        runs: how often the model is asked about each segment.
        dry_run: whether stage label tells calls, bytes and the bound of the cost, and sends nothing.
    """

    source: AnnotateSource = field(default_factory=AnnotateSource)
    output_dir: str = "outputs/annotate"
    stage: Stage = Stage.all
    workers: int | None = None
    allow_broken: bool = False
    vad: VadSettings = field(default_factory=VadSettings)
    speaker: SpeakerSettings = field(default_factory=SpeakerSettings)
    identity: IdentitySettings = field(default_factory=IdentitySettings)
    transcript: TranscriptSettings = field(default_factory=TranscriptSettings)
    segments: SegmentSettings = field(default_factory=SegmentSettings)
    export: ExportSettings = field(default_factory=ExportSettings)
    api: ApiSettings = field(default_factory=ApiSettings)
    request: RequestSettings = field(default_factory=RequestSettings)
    budget: BudgetSettings = field(default_factory=BudgetSettings)
    vocabulary: VocabularySettings = field(default_factory=VocabularySettings)
    mapping: MappingSettings = field(default_factory=MappingSettings)
    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)
    runs: int = 5
    dry_run: bool = False

    def __post_init__(self) -> None:
        require_runs(self.runs)


@dataclass
class ModelSettings:
    """conf/model: a network, its input, and how it is trained.

    Attributes:
        name: of the model.
        view: which part of a clip the network sees, a key of `mefusion.windows.views.VIEWS`.
        network: `_target_` and its arguments.
        optimizer: its settings.
        training: which windows are used, and for how long.
        task_weights: the tasks that the network has, with their weights.
        flow: what a network of flow images sees.
        imbalance, imbalance_tau: how classes are balanced, unless the study says otherwise.
        mean_shape: see `mefusion.training.module.MERModule`.
        compile: whether torch.compile is used.
        channels_last: see `mefusion.acceleration.channels_last`.
        init_from: a bundle, or a checkpoint of the authors of MOL or FDP, whose weights the networks start from;
            `rendered-motion` is the bundle that comes with mefusion.
        freeze: names of parts of the network that keep these weights.
    """

    name: str = MISSING
    view: str = MISSING
    network: dict[str, Any] = MISSING
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    task_weights: dict[str, float] = field(default_factory=dict)
    flow: FlowSettings = field(default_factory=FlowSettings)
    imbalance: Imbalance = Imbalance.none
    imbalance_tau: float = 1.0
    mean_shape: bool = False
    compile: bool = False
    channels_last: bool = False
    init_from: str | None = None
    freeze: list[str] = field(default_factory=list)

    @property
    def image_size(self) -> int:
        """Side of what the network sees, px.

        Raises:
            MefusionError: it is no whole number from 1 up.
        """
        size = self.network.get("image_size")
        if type(size) is not int or size < 1:
            raise MefusionError(f"model.network.image_size={size}: give a whole number of pixels, such as 128")
        return size


@dataclass
class ProtocolOptions:
    """Options of protocols, see `mefusion.evaluation.folds`; None for protocols that do not have the option."""

    k: int | None = None
    seed: int | None = None
    test: list[str] | None = None


@dataclass
class ProtocolSettings(ProtocolOptions):
    """conf/protocol: how subjects are split, and which folds are run.

    Attributes:
        name: a key of `mefusion.evaluation.folds.PROTOCOLS`.
        validation: share of the training subjects that `rule=inner_val` uses for validation.
        folds: names of the folds to run; None means all.
        shard: the part of the folds to run, as `2/3`.
    """

    name: str = MISSING
    validation: float = 0.2
    folds: list[str] | None = None
    shard: str | None = None


@dataclass
class ClusterSettings:
    """conf/cluster: what a SLURM cluster wants of each job.

    Attributes:
        partition, account: of its jobs; None means the cluster's default.
        setup: commands before the job.
    """

    partition: str | None = None
    account: str | None = None
    setup: list[str] = field(default_factory=list)


@dataclass
class ResourceSettings:
    """conf/resources: what a job of a SLURM cluster needs.

    Attributes:
        gpus, cores: of each job.
        memory_gb: gigabytes.
        minutes: time limit.
        requeues: how often a job that reaches it is queued again.
        shards: jobs that share the folds of each study.
    """

    gpus: int | None = None
    cores: int | None = None
    memory_gb: int | None = None
    minutes: int = 1440
    requeues: int = 5
    shards: int = 1


@dataclass
class TrainSettings(PrepareSettings):
    """conf/train.yaml: one study.

    Attributes:
        model: see `ModelSettings`.
        tasks: for each task `_target_` and its weight: None means the model's own weight, 0 leaves the task out.
        imbalance: how classes of different size are balanced.
        imbalance_tau: how much, with `class_weights` and `logit_adjustment`, see `Recognition`.
        protocol: how subjects are split.
        trainer: Lightning's Trainer, `_target_` and its arguments.
        logger: loggers by name, each with `_target_` and its arguments.
        callbacks: Lightning's callbacks by name, likewise.
        seeds: every fold is run with each seed.
        rule: which weights predict.
        output_dir: folder of the studies.
        again, accept_code: see `mefusion.studies.code.require_same_code`.
        keep_weights: whether each fold keeps its weights, beside its predictions.
        processes: that run folds side by side; None means one for each GPU, or as many as cores and memory allow.
        processes_per_gpu: that share a GPU, where their number is not given.
        cluster, resources: of jobs of a SLURM cluster.
    """

    model: ModelSettings = field(default_factory=ModelSettings)
    tasks: dict[str, Any] = field(default_factory=dict)
    imbalance: Imbalance = Imbalance.none
    imbalance_tau: float = 1.0
    protocol: ProtocolSettings = field(default_factory=ProtocolSettings)
    trainer: dict[str, Any] = MISSING
    logger: dict[str, Any] = field(default_factory=dict)
    callbacks: dict[str, Any] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=lambda: [0])
    rule: Rule = Rule.last
    output_dir: str = "outputs"
    again: bool = False
    accept_code: bool = False
    keep_weights: bool = False
    processes: int | None = None
    processes_per_gpu: int = 1
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    resources: ResourceSettings = field(default_factory=ResourceSettings)


SCHEMAS = {
    "prepare": PrepareSettings,
    "check": CheckSettings,
    "spot": SpotSettings,
    "annotate": AnnotateSettings,
    "train": TrainSettings,
}
"""Settings by the name of their file in conf/."""


def register_schema(name: str) -> None:
    """Register the types of the settings of a file in conf/ with Hydra, which copies all that are registered often."""
    ConfigStore.instance().store(name=f"{name}_schema", node=SCHEMAS[name])
