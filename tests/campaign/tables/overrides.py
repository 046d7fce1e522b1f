"""Values that a setting cannot have: the sentence must name the setting, or the value if it is a telling one.

Add a value to a setting's line, or a line.
"""

from collections.abc import Iterator

from ..cases import Case, Expected, table
from ..templates import DATA, SMALL

# A setting, and values that are refused.
TRAIN = """
seeds                            [] [1,1] [abc] abc null [1.5] [nan] [-1] [99999999999999999999999]
rule                             best null [last] 1
imbalance                        some null 3
output_dir                       null [a] {a:1}
cache_dir                        null nowhere
clip_length                      abc null 1 0 -3 1.5 nan [8] 9
short_clips                      drop null
missing_apex                     first null
flow                             lucas_kanade null 3
workers                          abc 1.5 [1]
labels                           nine null
labels.name                      [a]
labels.column                    mood null 3
labels.classes                   3 null {smile:3} {smile:[smile]} {a:[negative],b:[negative]}
data                             casme9 null
data._target_                    os.system nothing.Nothing mefusion.models.MOL null 3 builtins.print
data.name                        [a] a/b ..
data.root                        null
data.frames                      8 [8] [9,8] [a,b] null [1,1] [nan,nan]
data.subjects                    0 -1 abc 1.5 null nan inf
data.clips_per_class             0 abc null
data.amplitude                   0 -1 abc nan inf null [2,1]
data.size                        0 abc null 1.5
data.seed                        -1 abc null 1.5
data.portraits                   nowhere 3
data.layout                      casme2 nothing
faces                            mediapipe null
faces.backend                    mediapipe
faces.enlarge                    abc null nan inf 0 -1
faces.alignment                  sideways null
faces.max_missing                -1 abc null 1.5
model                            nothing null
model.name                       null [a] a/b ../a ''
model.view                       nothing null 3
model.mean_shape                 maybe
model.compile                    maybe
model.network._target_           os.system nothing.Nothing mefusion.models.Nothing null builtins.print torch.nn.Linear
model.network.image_size         null [64] abc 64.0 0 -64 1 60 nan
model.network.width              wide 0 -1 null nan inf [1]
model.network.flow_width         wide 0 -1 nan
model.network.neighbors          abc 999 0 -1 null 1.5
model.network.variant            other null
model.network.correlation_radius -1 abc null 1.5
model.network.dropout            nan -1 2 abc null
model.network.reference          other
model.network.flow_differences   abc
model.network.flow_scale         nan abc null
+model.network.nothing           1
+model.nothing                   1
model.optimizer.lr               nan -1 abc null [1] inf 1e12
model.optimizer.weight_decay     nan -1 abc null inf
model.optimizer.name             sgd null
model.optimizer.schedule         linear null
+model.optimizer.momentum        0.9
model.training.max_epochs        abc 1.5 null
model.training.max_steps         0 -2 abc 1.5
model.training.batch_size        0 -1 abc 1.5 null nan
model.training.windows           some null dual_phase
model.training.crop_jitter       -1 99 abc null 1.5
model.training.flip              maybe null
model.training.temporal_jitter   -1 256 abc null
model.training.contrast          -0.1 1 abc nan
model.training.brightness        -1 256 nan abc
model.training.noise             -1 256 nan inf abc
model.task_weights               3 null
model.task_weights.flow          abc nan -1 null inf
+model.task_weights.smile        1
tasks                            nothing null 3
tasks.flow.weight                -1 abc nan inf [1]
tasks.recognition.weight         0
tasks.flow                       3
+tasks.smile                     3
+tasks.smile._target_            nothing.Nothing os.system
tasks.flow._target_              os.system nothing.Nothing torch.nn.Linear
protocol                         bootstrap null
protocol.name                    bootstrap null
protocol.validation              abc null [1]
protocol.folds                   [] [sub99] sub01 3
protocol.shard                   0/2 3/2 abc 1/0 -1/2 1/2/3 1.5/2
protocol.k                       3 abc
protocol.seed                    3
protocol.test                    [sub01]
trainer                          tpu null
trainer.accelerator              abacus tpu null 3
trainer.devices                  none 0 -5 abc null
trainer.precision                64 abc 8
trainer.max_epochs               0 -2 abc 1.5
trainer.deterministic            sometimes
trainer.log_every_n_steps        abc -1
trainer._target_                 os.system nothing.Nothing torch.nn.Linear null
+trainer.max_steps               5
+trainer.strategy                fsdp nothing
+trainer.num_nodes               0 abc 5
+trainer.gradient_clip_val       nan -1 abc
+trainer.accumulate_grad_batches 0 -1 abc 1.5
+trainer.limit_train_batches     -1 abc nan
+trainer.limit_predict_batches   0 .5 1 abc
+trainer.limit_val_batches       1
+trainer.overfit_batches         abc -1
+trainer.check_val_every_n_epoch abc
+trainer.callbacks               [a]
+trainer.logger                  true
+trainer.plugins                 [a]
+trainer.fast_dev_run            abc
+trainer.max_time                abc
+trainer.nothing                 1
+trainer.sync_batchnorm          true
+trainer.detect_anomaly          maybe
+trainer.profiler                nothing
logger                           paper null
+logger.paper                    1
+logger.paper._target_           nothing.Nothing os.system
callbacks                        [coffee] coffee null
+callbacks.coffee                1
+callbacks.coffee._target_       nothing.Nothing os.system
hydra/launcher                   bus
hydra/sweeper                    bus
hydra.launcher.n_jobs            many
nonsense                         1
+nonsense                        1
+ablation                        nothing
+reproduce                       mol_casme9
+search                          nothing
"""
PREPARE = """
workers                          0 -1 abc 1.5 [1]
cache_dir                        null [a]
clip_length                      1 0 -3 abc null nan
short_clips                      drop
missing_apex                     first
flow                             lucas_kanade null 3
flow_device                      nowhere cuda:99
labels                           nine
data                             casme9
data.frames                      8 [9,8] [a,b]
data.subjects                    0 abc nan 1.5
data.clips_per_class             0 abc
data.amplitude                   0 -1 nan inf 1e9
data.size                        0 abc 4
data.seed                        -1 abc
data.scheme                      nothing null 3
data.portraits                   nowhere conf
data.layout                      nothing casme2
data.write_to                    somewhere
data.root                        null
+data.nothing                    1
faces.backend                    mediapipe nothing
faces.enlarge                    nan 0 -1 inf abc
faces.max_missing                -1 abc
faces.alignment                  sideways
faces.folder                     nowhere
+faces.nothing                   1
model                            mol_tiny
seeds                            [1]
nonsense                         1
"""

# Command lines, and words that the sentence must have.
LINES = [
    ("mefusion-train model.optimizer.lr", "model.optimizer.lr"),
    ("mefusion-train =1", "=1"),
    ("mefusion-train seeds=[0", "seeds=[0"),
    ("mefusion-train ~model", "model"),
    ("mefusion-train ~nothing", "nothing"),
    ("mefusion-train ++model=3", "model"),
    ("mefusion-train model@=3", "model"),
    ("mefusion-train -m model=mol_tiny,nothing", "nothing"),
    ("mefusion-train -m hydra/launcher=bus", "bus"),
    ("mefusion-train -m hydra.launcher.n_jobs=0", "n_jobs=0"),
    ("mefusion-train -m hydra.launcher.n_jobs=many", "many"),
    ("mefusion-train -m hydra/sweeper=search", "rule=last"),
    ("mefusion-train -m hydra/sweeper=search rule=inner_val", "searched"),
    ("mefusion-train -m hydra/sweeper=search rule=inner_val hydra.sweeper.n_trials=0 seed=1", "seed"),
    ("mefusion-train +ablation=neighbors", "model.network.neighbors", "-m"),
    ("mefusion-train --config-name nothing", "nothing"),
    ("mefusion-train --config-dir nowhere", "nowhere"),
    ("mefusion-train model=mol_tiny,fdp_tiny", "model"),
    ("mefusion-train trainer.max_epochs=-1", "trainer.max_epochs=-1"),
    ("mefusion-train trainer=cpu model.training.max_epochs=0", "max_epochs=0"),
    ("mefusion-train trainer=cpu model.training.max_epochs=-2", "max_epochs=-2"),
    ("mefusion-train trainer=cpu model.training.max_epochs=-1", "max_steps"),
    ("mefusion-train rule=inner_val", "two training subjects"),
    ("mefusion-train rule=inner_val protocol.validation=0", "protocol.validation"),
    ("mefusion-train rule=inner_val protocol.validation=2", "protocol.validation"),
    ("mefusion-train rule=inner_val protocol.validation=nan", "protocol.validation"),
    ("mefusion-train protocol=kfold", "protocol.k=5"),
    ("mefusion-train protocol=kfold protocol.k=0", "protocol.k=0"),
    ("mefusion-train protocol=kfold protocol.k=1.5", "protocol.k"),
    ("mefusion-train protocol=kfold protocol.k=2 protocol.seed=-1", "protocol.seed=-1"),
    ("mefusion-train protocol=holdout", "protocol.test"),
    ("mefusion-train protocol=holdout protocol.test=[sub99]", "sub99"),
    ("mefusion-train protocol=holdout protocol.test=[sub01,sub02]", "protocol.test"),
    ("mefusion-train protocol=cross_dataset", "two datasets"),
    ("mefusion-train data=manifest", "data.root"),
    ("mefusion-train data=manifest data.root=nowhere", "nowhere"),
    ("mefusion-train data=casme2 data.root=nowhere", "nowhere"),
    ("mefusion-train data=pooled", "data/sources"),
    ("mefusion-train data=pooled data/sources=[nothing]", "nothing"),
    ("mefusion-train callbacks=[early_stopping]", "rule=inner_val"),
    ("mefusion-train callbacks=[examples] callbacks.examples.every=0", "callbacks.examples.every"),
    ("mefusion-train callbacks=[examples] callbacks.examples.every=abc", "every"),
    ("mefusion-train callbacks=[early_stopping] callbacks.early_stopping.patience=-1 rule=inner_val", "two training"),
    ("mefusion-train model=mol_tiny faces=none", "mefusion-prepare"),
    ("mefusion-train tasks=recognition tasks.flow.weight=1", "tasks.flow"),
    ("mefusion-train model=ststnet model.training.contrast=.1", "contrast"),
    ("mefusion-train model=ststnet model.training.temporal_jitter=1", "temporal_jitter"),
    ("mefusion-train model=nothing seeds=[abc]", "nothing"),
    ("mefusion-train hydra.run.dir=/proc/nothing output_dir=/proc/nothing", "/proc/nothing"),
    ("mefusion-prepare data.layout=casme2 data.write_to=/proc/nothing", "/proc/nothing"),
    ("mefusion-prepare data=manifest data.root=/etc/hostname", "/etc/hostname"),
    ("mefusion-prepare cache_dir=/proc/nothing", "/proc/nothing"),
    ("mefusion-prepare data.root=/proc/nothing", "/proc/nothing"),
    ("mefusion-prepare faces=precomputed", "faces.folder"),
    ("mefusion-check nonsense=1", "nonsense"),
    ("mefusion-check data=casme2 data.root=nowhere", "nowhere"),
    ("mefusion-check data=casme2", "data.root"),
    ("mefusion-check labels=nine", "nine"),
    ("mefusion-bench nonsense=1", "nonsense"),
]
TOLD = [
    ("mefusion-train -m seeds=[0],[1] trainer.devices=2", "trainer.devices", "2 of 2 jobs failed"),
    ("mefusion-train -m model=majority,nothing seeds=[0],[0,0]", "nothing"),
]
WORK = [
    ("mefusion-train --cfg job", "network"),
    ("mefusion-train model=majority trainer.max_epochs=1 -m seeds=[0],[1]", "majority"),
    ("mefusion-train protocol.folds=[sub01] model=majority --cfg hydra", "hydra"),
    ("mefusion-prepare --help", "faces"),
    ("mefusion-check", "6 clips of 2 subjects"),
]


def settings(text: str, program: str, given: tuple[str, ...]) -> Iterator[Case]:
    """A case for each value of each setting."""
    for line in text.strip().splitlines():
        key, *values = line.split()
        for value in values:
            name = f"{program.removeprefix('mefusion-')} {key}={value}"
            telling = [key.strip("+").rpartition(".")[2], *([value] if len(value) > 4 else [])]
            yield Case("overrides", name, "prepared", ((program, *given, f"{key}={value}"),), ("|".join(telling),))


def lines(expected: Expected, rows: list[tuple[str, ...]]) -> Iterator[Case]:
    """A case for each command line."""
    for line, *words in rows:
        program, *rest = line.split(" ", 1)
        given = [*DATA, *(SMALL[:1] if program == "mefusion-train" else ())]
        own = {argument.split("=")[0] for argument in (rest or [""])[0].split()}
        shared = [] if {"data", "--config-name"} & own or program == "mefusion-bench" else given
        alone = "-m" in line or "devices" in line  # they start processes by the name of their main program
        yield from table(
            "overrides", "prepared", " ".join([program, *shared, *rest]), [(line, None, *words)], expected=expected, alone=alone
        )  # fmt: skip


CASES = [
    *settings(TRAIN, "mefusion-train", (*DATA, *SMALL, "protocol.folds=[sub01]")),
    *settings(PREPARE, "mefusion-prepare", DATA),
    *lines(Expected.refused, LINES),
    *lines(Expected.told, TOLD),
    *lines(Expected.works, WORK),
]
