"""The LightningModules, and that networks, tasks and configurations fit each other."""

import math
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from composed import settings_of
from scipy.ndimage import gaussian_filter

from mefusion.clips.motion import dynamic_image
from mefusion.common.errors import MefusionError
from mefusion.configuration.building import make_module, make_network
from mefusion.configuration.cli import configuration_folder
from mefusion.configuration.composition import resolve_tasks
from mefusion.models import FDP, MOL, Majority
from mefusion.training.losses import DynamicImage, Flow, Landmarks, Rank, Recognition
from mefusion.training.module import MERModule
from mefusion.training.settings import OptimizerName, OptimizerSettings, Schedule
from mefusion.windows.datamodule import Statistics
from mefusion.windows.store import Batch

MODELS = sorted(path.stem for path in (configuration_folder("conf") / "model").glob("*.yaml"))


def statistics(classes=3, mean_shape=None):
    """As fitted on no one."""
    shape = torch.zeros(68, 2) if mean_shape is None else mean_shape
    return Statistics(torch.zeros(1, 1, 1), torch.ones(1, 1, 1), class_counts=torch.ones(classes), mean_shape=shape)


STATISTICS = statistics()


def moving_clips(count, size, length=8):
    """A batch of textures that move by up to 2 px a frame, each its own way, with marks that move along."""
    rng = np.random.default_rng(0)
    frames, flow, marks = [], [], []
    for _ in range(count):
        world = gaussian_filter(rng.standard_normal((size + 40, size + 40)), 2)
        step = rng.integers(-2, 3, 2)
        first = rng.uniform(0.3 * size, 0.7 * size, (68, 2))
        first[36:42, 0], first[42:48, 0] = 0.3 * size, 0.7 * size
        corners = [20 - t * step for t in range(length)]
        frames.append([world[y : y + size, x : x + size] for x, y in corners])
        flow.append(np.broadcast_to(step[:, None, None], (length - 1, 2, size, size)))
        marks.append([first + t * step for t in range(1, length)])
    stack = np.array(frames)
    return Batch(
        inputs=torch.tensor(stack / stack.std(), dtype=torch.float32)[:, :, None],
        label=torch.arange(count) % 3,
        clip=torch.arange(count),
        targets={
            "flow": torch.tensor(np.array(flow), dtype=torch.float32),
            "landmarks": torch.tensor(np.array(marks), dtype=torch.float32),
            "dynamic_image": torch.tensor(dynamic_image(stack)),
        },
    )


def learn(module, batch, steps):
    """Losses of the tasks in the first and the last steps, and the logits at the end."""
    optimizer, history = module.make_optimizer(), []
    for _ in range(steps):
        optimizer.zero_grad()
        result = module.step(batch)
        result.loss.backward()
        optimizer.step()
        history.append({name: value.item() for name, value in result.losses.items()})
    return history[0], history[-1], module.network(batch.inputs).logits


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_mol_learns_eight_clips_by_heart(variant):
    torch.manual_seed(0)
    network = MOL(3, variant=variant, width=1 / 8, flow_width=1 / 16, image_size=64, correlation_radius=2, dropout=0.0)
    tasks = {"recognition": Recognition(1), "flow": Flow(1), "landmarks": Landmarks(0.1)}
    batch = moving_clips(8, 64)
    module = MERModule(network, tasks, OptimizerSettings(lr=2e-3), mean_shape=True)
    module.initialise(statistics(mean_shape=batch.targets["landmarks"].mean((0, 1))))
    first, last, logits = learn(module, batch, 40)
    assert (logits.argmax(1) == batch.label).all()
    assert last["flow"] < 0.5 * first["flow"]
    assert last["landmarks"] < 0.7 * first["landmarks"]


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_fdp_learns_eight_clips_by_heart(variant):
    torch.manual_seed(0)
    channels = {"stem_channels": (16, 8, 16, 16), "lra_channels": (24, 32, 48, 64), "gra_channels": (24, 32, 48, 64)}
    network = FDP(
        3,
        variant=variant,
        image_size=32,
        lra_blocks=(1, 1, 1, 1),
        head_size=8,
        segnet_width=1 / 8,
        drop_path=0.0,
        **channels,
    )
    tasks = {"recognition": Recognition(1), "dynamic_image": DynamicImage(10)}
    tasks |= {"rank": Rank(1)} if variant == "paper" else {}
    batch = moving_clips(8, 32)
    first, last, logits = learn(MERModule(network, tasks, OptimizerSettings(lr=5e-4)), batch, 90)
    assert (logits.argmax(1) == batch.label).all()
    assert last["dynamic_image"] < 0.6 * first["dynamic_image"]
    assert "rank" not in first or last["rank"] < 0.5 * first["rank"]


# Every configuration.


def module_of(*overrides, statistics=None):
    settings = settings_of(*overrides)
    return make_module(settings, resolve_tasks(settings), statistics or STATISTICS)


def batch_for(settings):
    """Two random windows of the kind that a model sees."""
    size, length = settings.model.network["image_size"], settings.clip_length
    if settings.model.view == "flow_image":
        return Batch(torch.randn(2, 3, size, size), label=torch.tensor([0, 2]), clip=torch.arange(2))
    return moving_clips(2, size, length)


@pytest.mark.parametrize("model", MODELS)
def test_every_model_is_built_and_takes_a_step(model):
    config, module = settings_of(f"model={model}"), module_of(f"model={model}")
    batch = batch_for(config)
    result = module.step(batch)
    assert set(result.losses) == {name for name, weight in config.model.task_weights.items() if weight}
    total = sum(config.model.task_weights[name] * loss.item() for name, loss in result.losses.items())
    assert result.loss.item() == pytest.approx(total, rel=1e-4)
    prediction = module.eval().predict_step(batch, 0)
    assert prediction.probabilities.shape == (2, 3)
    torch.testing.assert_close(prediction.probabilities.sum(1), torch.ones(2))
    assert all(error.shape == (2,) and error.isfinite().all() for error in prediction.errors.values())
    if not module.learns:
        assert not list(module.parameters())
        return
    result.loss.backward()
    learning = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    assert learning == [name for name, parameter in module.named_parameters() if parameter.grad is not None]
    optimizer = module.make_optimizer()
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(learning)
    optimizer.step()
    assert module.step(batch).loss.isfinite()


@pytest.mark.parametrize(
    ("overrides", "weights"),
    [
        (["model=mol"], {"recognition": 1, "flow": 10, "landmarks": 0.1}),
        (["model=fdp"], {"recognition": 1, "dynamic_image": 100, "rank": 0.1}),
        (["model=fdp_released"], {"recognition": 1, "dynamic_image": 100}),
        (["model=mol", "tasks=recognition"], {"recognition": 1}),
        (["model=mol", "tasks.flow.weight=3"], {"recognition": 1, "flow": 3, "landmarks": 0.1}),
        (["model=mol", "tasks.flow.weight=0"], {"recognition": 1, "landmarks": 0.1}),
        (["model=fdp_released", "tasks.flow.weight=0"], {"recognition": 1, "dynamic_image": 100}),
    ],
)
def test_tasks_are_those_of_the_model_less_those_that_are_off(overrides, weights):
    assert {name: task.weight for name, task in resolve_tasks(settings_of(*overrides)).items()} == weights


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("tasks.flow.weight=-1", "tasks.flow.weight=-1: give a number from 0 up"),
        ("tasks.recognition.weight=0", "tasks.recognition is off"),
    ],
)
def test_weights_that_make_no_sense_are_named(override, sentence):
    with pytest.raises(MefusionError, match=sentence.replace(".", r"\.")):
        resolve_tasks(settings_of(override))


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ["+model.task_weights.smile=1"],
            "model.task_weights.smile: there is no such task; choose from recognition, flow",
        ),
        (
            [f"+tasks.smile._target_={__name__}.Smile"],
            "tasks.smile: model=mol_tiny has no such task, only recognition, f",
        ),
        ([f"+tasks.smile._target_={__name__}.Smile", "+tasks.smile.weight=2"], "give +model.task_weights.smile=1"),
        (["tasks.action_units.weight=1"], "tasks.action_units: model=mol_tiny has no such task, only recognition, f"),
        (["tasks=action_units"], "tasks.action_units: model=mol_tiny has no such task"),
        (["model=fdp_released", "tasks.flow.weight=3"], "tasks.flow: model=fdp_released has no such task"),
    ],
)
def test_a_task_that_is_not_known_is_refused(overrides, sentence):
    with pytest.raises(MefusionError, match=re.escape(sentence)):
        resolve_tasks(settings_of(*overrides))


def test_a_model_s_weights_of_tasks_that_are_left_out_are_no_error():
    assert [*resolve_tasks(settings_of("tasks=recognition"))] == ["recognition"]
    assert [*resolve_tasks(settings_of("~tasks.flow"))] == ["recognition", "landmarks"]


def test_a_task_whose_field_or_target_is_missing_is_one_sentence():
    batch = moving_clips(2, 32)
    module = MERModule(torch.nn.Identity(), {"flow": Flow()}, OptimizerSettings())
    with pytest.raises(
        MefusionError, match=r"the task flow needs flow, which is not in the network's output, a Tensor"
    ):
        module.step(batch)
    batch.targets.pop("flow")
    with pytest.raises(
        MefusionError, match=r"the task flow needs flow, which is not in what the view cuts \(landmarks"
    ):
        module.step(batch)


def test_what_is_no_task_is_named():
    with pytest.raises(MefusionError, match=r"tasks\.pose is not a task: give tasks\.pose\._target_=CLASS"):
        resolve_tasks(settings_of("+tasks.pose.weight=1"))


class Smile(Recognition):
    """A task of one's own."""


def test_a_task_of_one_s_own_is_built_from_its_class():
    own = [f"+tasks.smile._target_={__name__}.Smile", "+tasks.smile.focus=2", "+model.task_weights.smile=3"]
    assert resolve_tasks(settings_of(*own))["smile"] == Smile(weight=3.0, focus=2)


@pytest.mark.parametrize("task", [Flow, Landmarks, DynamicImage, Rank])
def test_a_task_s_columns_are_those_it_declares(task):
    batch = moving_clips(2, 32)
    output = SimpleNamespace(**batch.targets, rank_scores=torch.randn(2, 8))
    assert list(task().errors(output, batch)) == list(task.report.columns)
    assert all(name in vars(output) for name in task.pictures)


def test_a_task_that_is_off_has_no_parameters():
    whole = module_of("model=mol_tiny")
    part = module_of("model=mol_tiny", "tasks.flow.weight=0")
    assert any("flow_net" in name for name, _ in whole.named_parameters())
    assert not any("flow_net" in name for name, _ in part.named_parameters())


@pytest.mark.parametrize("model", ["mol_tiny", "fdp_tiny"])
@pytest.mark.parametrize("option", ["model.compile=true", "model.channels_last=true"])
def test_compiling_and_channels_last_leave_the_outputs_as_they_are(model, option, monkeypatch):
    # The inductor backend needs a C++ compiler; what is traced is the same.
    plain_compile = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: plain_compile(self, backend="eager"))
    torch.manual_seed(0)
    plain = module_of(f"model={model}").eval()
    other = module_of(f"model={model}", option).eval()
    other.load_state_dict(plain.state_dict())
    size = plain.network.frame_shape[-1]
    frames = moving_clips(2, size).inputs
    with torch.no_grad():
        for name, expected in vars(plain(frames)).items():
            torch.testing.assert_close(getattr(other(frames), name), expected, atol=1e-3, rtol=1e-3, msg=name)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_network_learns_as_the_plain_one():
    torch.manual_seed(0)
    plain = module_of("model=ststnet")
    compiled = module_of("model=ststnet", "model.compile=true")
    compiled.load_state_dict(plain.state_dict())
    for module in (plain, compiled):
        for part in module.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0
    batch = Batch(torch.randn(6, 3, 28, 28), label=torch.arange(6) % 3, clip=torch.arange(6))
    (*_, expected), (*_, given) = (learn(module, batch, steps=5) for module in (plain, compiled))
    torch.testing.assert_close(given, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("accelerator", "gpu_is_there", "plain"),
    [("cpu", True, False), ("auto", False, False), ("auto", True, True), ("gpu", True, True)],
)
def test_a_network_has_plain_layers_where_it_runs_on_a_gpu(accelerator, gpu_is_there, plain, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu_is_there)
    settings = settings_of("model=mol_tiny", f"trainer.accelerator={accelerator}")
    network = make_network(settings, resolve_tasks(settings), 3)
    assert (type(network.flow_net.predict_flow6) is torch.nn.Conv2d) == plain


# Optimisers and the majority class.


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_the_optimizer_is_the_one_asked_for(name, kind):
    settings = OptimizerSettings(lr=3e-4, weight_decay=0.02, name=OptimizerName(name))
    optimizer = MERModule(MOL(2, width=1 / 16, image_size=64), {}, settings).make_optimizer()
    assert type(optimizer) is kind
    assert (optimizer.defaults["lr"], optimizer.defaults["weight_decay"]) == (3e-4, 0.02)


@pytest.mark.parametrize(("steps", "falling"), [(2, [0]), (3, [0.5, 0]), (4, [0.75, 0.25, 0])])
def test_a_warm_up_may_take_exactly_one_step(steps, falling, monkeypatch):
    monkeypatch.setattr(MERModule, "trainer", SimpleNamespace(estimated_stepping_batches=steps))
    settings = OptimizerSettings(lr=1, schedule=Schedule.one_cycle, warmup=1 / steps)
    chosen = MERModule(torch.nn.Linear(1, 1), {}, settings).configure_optimizers()
    optimizer, scheduler = chosen["optimizer"], chosen["lr_scheduler"]["scheduler"]
    rates = scheduler.get_last_lr()
    for _ in range(steps - 1):
        optimizer.step()
        scheduler.step()
        rates += scheduler.get_last_lr()
    assert rates == pytest.approx([1 / 25, *falling], abs=1e-4)  # it begins at 1/25, and then falls along a half cosine


@pytest.mark.parametrize(("option", "value"), [("name", "sgd"), ("schedule", "steps")])
def test_an_unknown_optimizer_or_schedule_is_named(option, value, command, tmp_path):
    done = command("mefusion-train", f"model.optimizer.{option}={value}", cwd=tmp_path)
    assert done.returncode == 1
    assert f"model.optimizer.{option}={value}: choose from " in done.stderr


def test_the_majority_class_is_that_of_the_training_subjects():
    module = MERModule(Majority(3), {}, OptimizerSettings())
    module.initialise(Statistics(torch.zeros(1), torch.ones(1), class_counts=torch.tensor([2, 6, 0])))
    batch = Batch(torch.randn(4, 3, 28, 28), label=torch.zeros(4, dtype=torch.long), clip=torch.arange(4))
    prediction = module.predict_step(batch, 0)
    torch.testing.assert_close(prediction.probabilities, torch.tensor([[0.25, 0.75, 0.0]]).repeat(4, 1))
    assert math.isclose(prediction.probabilities.sum().item(), 4, rel_tol=1e-6)
