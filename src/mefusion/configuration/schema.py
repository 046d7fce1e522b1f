"""Types of the configuration's values, so that `seeds=[abc]` is refused before anything runs."""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass
class FacesConfig:
    """conf/faces."""

    backend: str | None = None
    enlarge: float = 2.5
    alignment: str = "stabilised"
    max_missing: int = 5
    folder: str | None = None


@dataclass
class DatasetLabelsConfig:
    """What a label scheme is in one dataset."""

    classes: dict[str, list[str]] = field(default_factory=dict)
    leave_out: list[str] = field(default_factory=list)


@dataclass
class LabelsConfig:
    """conf/labels: class -> the emotions that count as it, of all datasets or of single ones."""

    name: str = MISSING
    classes: dict[str, list[str]] = field(default_factory=dict)
    column: str = "emotion"
    datasets: dict[str, DatasetLabelsConfig] = field(default_factory=dict)


@dataclass
class PrepareConfig:
    """What is prepared, how, and where to."""

    data: Any = MISSING
    labels: LabelsConfig = field(default_factory=LabelsConfig)
    faces: FacesConfig = field(default_factory=FacesConfig)
    clip_length: int = 8
    short_clips: str = "interpolate"
    missing_apex: str = "midpoint"
    cache_dir: str = "cache"
    workers: int | None = None


@dataclass
class OptimizerConfig:
    """Optimiser of a model: adamw or adam, and its schedule: constant or cosine."""

    lr: float = MISSING
    weight_decay: float = MISSING
    name: str = "adamw"
    schedule: str = "constant"


@dataclass
class TrainingConfig:
    """How long and on what windows a model trains; one of max_epochs and max_steps is set."""

    batch_size: int = MISSING
    windows: str = MISSING
    crop_jitter: int = 0
    flip: bool = False
    temporal_jitter: int = 0
    contrast: float = 0.0
    brightness: float = 0.0
    noise: float = 0.0
    max_epochs: int = -1
    max_steps: int = -1


@dataclass
class ModelConfig:
    """conf/model: a network, the module that trains it, its optimiser, and the tasks it has with their weights."""

    name: str = MISSING
    network: Any = MISSING
    module: Any = MISSING
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    task_weights: dict[str, float] = field(default_factory=dict)
    compile: bool = False
    channels_last: bool = False


@dataclass
class TaskConfig:
    """conf/tasks: one task; its weight is the model's own where it is null, and 0 leaves the task out."""

    weight: float | None = None


@dataclass
class ProtocolConfig:
    """conf/protocol: how subjects are split, options that are null but for their protocol, and what to run of it.

    `validation` is the share of the training subjects that rule=inner_val takes out; `shard` is as 2/3.
    """

    name: str = MISSING
    k: int | None = None
    seed: int | None = None
    test: list[str] | None = None
    validation: float = 0.2
    folds: list[str] | None = None
    shard: str | None = None


@dataclass
class LoggerConfig:
    """conf/logger."""

    name: str = MISSING
    project: str = "mefusion"
    examples_every: int = 0


@dataclass
class TrainConfig(PrepareConfig):
    """One study."""

    model: ModelConfig = field(default_factory=ModelConfig)
    tasks: dict[str, TaskConfig] = field(default_factory=dict)
    imbalance: str = "none"
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig)
    trainer: Any = MISSING
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    seeds: list[int] = field(default_factory=lambda: [0])
    rule: str = "last"
    output_dir: str = "outputs"


def register_schemas() -> None:
    """Make the types known to Hydra."""
    store = ConfigStore.instance()
    store.store(name="prepare_schema", node=PrepareConfig)
    store.store(name="train_schema", node=TrainConfig)
