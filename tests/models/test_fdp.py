import json
import math
from itertools import chain

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mefusion.acceleration import use_cpu_layers
from mefusion.models import FDP
from mefusion.models.fdp.blocks import GRA, LRA, Attention, DropPath, make_local_conv, rounded
from mefusion.models.fdp.heads import DETAIL_GAIN, SegNet, stretch
from mefusion.models.fdp.pooling import Pooling, RankScorer, approximate_weights, rank_weights
from mefusion.models.fdp.released import CHECKPOINT
from tests.shared_files import RELEASED

needs_shared = pytest.mark.skipif(not RELEASED.is_dir(), reason="the authors' interface files are not here")
SMALL = {
    "image_size": 32,
    "stem_channels": (8, 4, 8, 8),
    "lra_channels": (8, 8, 12, 12),
    "gra_channels": (8, 12, 12, 16),
    "lra_blocks": (1, 1, 2, 1),
    "head_size": 4,
    "segnet_width": 1 / 16,
    "scorer_hidden": 8,
    "recognition_hidden": 16,
}
TINY = {
    "stem_channels": (16, 8, 16, 16),
    "lra_channels": (24, 32, 48, 64),
    "gra_channels": (24, 32, 48, 64),
    "lra_blocks": (1, 1, 1, 1),
    "head_size": 8,
    "segnet_width": 1 / 16,
    "scorer_hidden": 16,
    "recognition_hidden": 32,
}
APPROXIMATE_8 = [-8.4607, -1.4607, 1.0393, 2.0393, 2.2893, 2.0893, 1.5893, 0.8750]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
    # The authors' unpooling refuses this mode, which another test's trainer may have left on.
    torch.use_deterministic_algorithms(False)


def settle(module: nn.Module) -> nn.Module:
    """Give batch norm statistics and parameters that a test would see if they were left out; eval mode.

    The encoder's small initial weights, too, would hide what comes in behind what batch norm adds.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.reset_parameters()
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.weight.data, part.running_var):
                tensor.uniform_(0.5, 1.5)
            for tensor in (part.bias.data, part.running_mean):
                tensor.normal_(std=0.5)
    return module.eval()


def small(num_classes: int = 3, **options) -> FDP:
    return FDP(num_classes, **{**SMALL, **options})


def clips(count: int = 2, length: int = 8, size: int = 32) -> Tensor:
    return torch.randn(count, length, 1, size, size)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# The equations, as loops.


def loop_conv3x3(x: Tensor, weight: Tensor) -> Tensor:
    """Padded 3x3 convolution, tap by tap."""
    padded, (height, width) = F.pad(x, (1, 1, 1, 1)), x.shape[2:]
    y = torch.zeros(len(x), len(weight), height, width, dtype=x.dtype)
    for k in range(3):
        for j in range(3):
            for o in range(len(weight)):
                part = padded[:, :, k : k + height, j : j + width]
                y[:, o] += (part * weight[o, :, k, j, None, None]).sum(dim=1)
    return y


def loop_mlp(block: LRA | GRA, x: Tensor) -> Tensor:
    """Position by position."""
    (w1, b1), (w2, b2) = ((conv.weight.flatten(1), conv.bias) for conv in (block.mlp.conv1, block.mlp.conv2))
    y = torch.zeros_like(x)
    for i in range(x.shape[2]):
        for j in range(x.shape[3]):
            y[:, :, i, j] = F.relu(x[:, :, i, j] @ w1.T + b1) @ w2.T + b2
    return y


def loop_local_conv(conv: nn.Sequential, x: Tensor, head_size: int, variant: str) -> Tensor:
    if variant == "released":
        return loop_conv3x3(x, conv[0].weight)
    grouped, norm, _, mix = conv
    groups = [slice(i, i + head_size) for i in range(0, x.shape[1], head_size)]
    y = torch.cat([loop_conv3x3(x[:, group], grouped.weight[group]) for group in groups], dim=1)
    return torch.einsum("nchw,oc->nohw", F.relu(norm(y)), mix.weight.flatten(1))


def loop_lra(lra: LRA, x: Tensor, head_size: int, variant: str) -> Tensor:
    x = lra.patch_embed(x)
    x = x + loop_local_conv(lra.conv, x, head_size, variant)
    return x + loop_mlp(lra, lra.norm(x))


def loop_attention(attention: Attention, x: Tensor, head_size: int, window: int) -> Tensor:
    """Head by head and position by position; windows averaged one by one."""
    n, c, height, width = x.shape
    keys = x
    if window > 1:
        keys = torch.zeros(n, c, height // window, width // window)
        for i in range(height // window):
            for j in range(width // window):
                part = x[:, :, i * window : (i + 1) * window, j * window : (j + 1) * window]
                keys[:, :, i, j] = part.mean(dim=(2, 3))
        keys = attention.reduce[1](keys)
    y = torch.zeros(n, c, height, width)
    for sample in range(n):
        k, v = (part(keys[sample].flatten(1).T) for part in (attention.key, attention.value))
        for i in range(height):
            for j in range(width):
                q = attention.query(x[sample, :, i, j])
                heads = [slice(h, h + head_size) for h in range(0, c, head_size)]
                mixed = [(k[:, h] @ q[h] / math.sqrt(head_size)).softmax(dim=0) @ v[:, h] for h in heads]
                y[sample, :, i, j] = attention.project(torch.cat(mixed))
    return y


def loop_gra(gra: GRA, x: Tensor, head_size: int, window: int) -> Tensor:
    x = gra.patch_embed(x)
    x = x + loop_attention(gra.attention, gra.norm_1(x), head_size, window)
    z = gra.project(x)
    z = z + loop_local_conv(gra.conv, z, head_size, "paper")
    y = torch.cat([x, z], dim=1)
    return y + loop_mlp(gra, gra.norm_2(y))


def loop_scores(scorer: RankScorer, features: Tensor) -> Tensor:
    """s_t = MLP(V_t), V_t the mean of f_1 .. f_t."""
    scores = torch.zeros(features.shape[:2], dtype=features.dtype)
    for b, clip in enumerate(features):
        for t in range(len(clip)):
            v = sum(clip[: t + 1]) / (t + 1)
            scores[b, t] = scorer.fc2(F.relu(scorer.fc1(v))).squeeze()
    return scores


def loop_rank_weights(scores: Tensor) -> Tensor:
    weights = torch.zeros_like(scores)
    for b, s in enumerate(scores):
        for t in range(len(s)):
            weights[b, t] = sum(torch.tanh(s[t] - s[q]) for q in range(len(s)) if q != t)
    return weights


def loop_approximate_weights(length: int) -> Tensor:
    times = range(1, length + 1)
    return torch.tensor([sum((2 * k - length - 1) / k for k in range(t, length + 1)) for t in times])


def loop_dynamic(weights: Tensor, features: Tensor) -> Tensor:
    """D = sum_t a_t f_t as maps ``[b, 1, h, w]``."""
    side = math.isqrt(features.shape[2])
    clips = [sum(a * f for a, f in zip(w, clip, strict=True)) for w, clip in zip(weights, features, strict=True)]
    return torch.stack(clips).reshape(-1, 1, side, side)


def rank_loss(scores: Tensor, margin: float = 1.0) -> Tensor:
    """2 / (T (T - 1)) sum_{i < j} max(0, m - (s_j - s_i)), the mean over clips."""
    length = scores.shape[1]
    pairs = [(i, j) for j in range(length) for i in range(j)]
    losses = [F.relu(margin - (scores[:, j] - scores[:, i])) for i, j in pairs]
    return 2 / (length * (length - 1)) * sum(losses).mean()


# Blocks.


@torch.no_grad()
@pytest.mark.parametrize("variant", ["paper", "released"])
@pytest.mark.parametrize(("inputs", "halves"), [(8, False), (8, True), (4, True)])
def test_lra_computes_its_equations(variant, inputs, halves):
    lra = settle(LRA(inputs, 8, halves=halves, head_size=4, drop_path=0.1, variant=variant))
    x = torch.randn(2, inputs, 4, 4)
    y = lra(x)
    assert y.shape == (2, 8, 2, 2) if halves else (2, 8, 4, 4)
    torch.testing.assert_close(y, loop_lra(lra, x, 4, variant), atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("window", [1, 2, 4])
@pytest.mark.parametrize("inputs", [12, 8])
def test_gra_computes_its_equations(window, inputs):
    gra = settle(GRA(inputs, 16, head_size=4, window=window, drop_path=0.1))
    x = torch.randn(2, inputs, 4, 4)
    torch.testing.assert_close(gra(x), loop_gra(gra, x, 4, window), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("channels", "head_size", "attending"), [(128, 32, 96), (1024, 32, 768), (24, 8, 16), (48, 8, 40), (16, 8, 8)]
)
def test_three_quarters_of_a_gra_attend(channels, head_size, attending):
    gra = GRA(8, channels, head_size=head_size, window=1, drop_path=0.0)
    assert gra.attention.query.in_features == attending
    assert gra.conv[0].in_channels == channels - attending
    assert gra.conv[0].groups * head_size == channels - attending


def test_odd_maps_halve_upwards_and_average_what_is_there():
    lra = LRA(4, 4, halves=True, head_size=4, drop_path=0.0, variant="paper")
    x = torch.arange(9.0).reshape(1, 1, 3, 3).expand(1, 4, 3, 3)
    torch.testing.assert_close(lra.patch_embed(x)[0, 0], torch.tensor([[2.0, 3.5], [6.5, 8.0]]))


@pytest.mark.parametrize(("channels", "multiple", "expected"), [(18, 8, 16), (36, 8, 40), (1, 8, 8), (0.2, 1, 1)])
def test_channels_are_rounded_to_heads(channels, multiple, expected):
    assert rounded(channels, multiple) == expected


def test_gradients_of_lra_and_gra():
    x = torch.randn(2, 4, 4, 4, dtype=torch.float64, requires_grad=True)
    blocks = [LRA(4, 4, halves=True, head_size=2, drop_path=0.0, variant=v) for v in ("paper", "released")]
    for block in (*blocks, GRA(4, 6, head_size=2, window=2, drop_path=0.0)):
        # Zero weights are where ReLU has no gradient to check.
        block = settle(block).double()
        assert torch.autograd.gradcheck(lambda *_, block=block: block(x), (x, *block.parameters()))


def test_drop_path_drops_samples_and_scales_the_others():
    x = torch.ones(1000, 2, 1, 1)
    drop = DropPath(0.25)
    y = drop(x).squeeze()
    assert (y[:, 0] == y[:, 1]).all()
    torch.testing.assert_close(y.unique(), torch.tensor([0, 4 / 3]))
    assert 0.2 < (y == 0).float().mean() < 0.3
    assert drop.eval()(x) is x


@pytest.mark.parametrize(("variant", "blocks"), [("paper", 24), ("released", 20)])
def test_drop_path_rises_linearly(variant, blocks):
    with torch.device("meta"):
        encoder = FDP(5, variant=variant).encoder
    rates = [block.drop_path.probability for block in encoder.blocks]
    assert rates == pytest.approx([0.1 * i / (blocks - 1) for i in range(blocks)])
    for block in encoder.blocks:
        if isinstance(block, GRA):
            rate = block.drop_path.probability
            assert block.drop_attention.probability == pytest.approx(0.75 * rate)
            assert block.drop_conv.probability == pytest.approx(0.25 * rate)


# Rank pooling.


@torch.no_grad()
def test_scores_are_those_of_running_means():
    scorer, features = RankScorer(9, 5), torch.randn(2, 6, 9)
    torch.testing.assert_close(scorer(features), loop_scores(scorer, features))


def test_rank_weights_equal_their_loop():
    scores = torch.randn(3, 6)
    torch.testing.assert_close(rank_weights(scores), loop_rank_weights(scores))
    chronological = rank_weights(torch.linspace(-2, 2, 8)[None])[0]
    assert (chronological.diff() > 0).all()
    torch.testing.assert_close(chronological, -chronological.flip(0))


@pytest.mark.parametrize("length", [1, 2, 5, 8])
def test_approximate_weights_equal_their_loop(length):
    torch.testing.assert_close(approximate_weights(length), loop_approximate_weights(length))


def test_approximate_weights_of_eight_frames():
    weights = approximate_weights(8)
    torch.testing.assert_close(weights, torch.tensor(APPROXIMATE_8), atol=5e-5, rtol=0)
    assert weights.sum().abs() < 1e-5


def make_pooling(kind: str, length: int = 5, variant: str = "paper") -> Pooling:
    return Pooling(kind, clip_length=length, image_size=4, maps=3, variant=variant)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["rank", "approximate", "mean", "residual"])
def test_pooling_equals_its_loop(kind):
    pooling, features, scores = make_pooling(kind), torch.randn(2, 5, 16), torch.randn(2, 5)
    centred = scores - scores.mean(dim=1, keepdim=True)
    fixed = loop_approximate_weights(5).expand(2, 5)
    weights = {
        "rank": loop_rank_weights(scores),
        "approximate": fixed,
        "mean": torch.full((2, 5), 1 / 5),
        "residual": fixed / 5 + centred / centred.norm(dim=1, keepdim=True),
    }[kind]
    expected = pooling.conv(loop_dynamic(weights, features))
    torch.testing.assert_close(pooling(features, scores), expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_residual_pooling_of_equal_scores_is_the_fixed_one():
    weights = make_pooling("residual").weights(torch.full((1, 5), 3.0))
    torch.testing.assert_close(weights[0], loop_approximate_weights(5) / 5)


@torch.no_grad()
def test_conv_pooling_looks_at_the_features_of_all_frames():
    pooling, features = make_pooling("conv"), torch.randn(2, 5, 16)
    expected = sum(
        F.conv2d(features[:, t].reshape(2, 1, 4, 4), pooling.conv.weight[:, t : t + 1], padding=1) for t in range(5)
    )
    torch.testing.assert_close(pooling(features, None), expected + pooling.conv.bias[:, None, None])


@torch.no_grad()
def test_released_pooling_reshapes_where_it_would_have_to_permute():
    pooling, features = make_pooling("conv", 8, "released"), torch.randn(2, 8, 16)
    seen = []
    pooling.conv.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    y = pooling(features, None)
    for b in range(2):
        numbers = [value for frame in features[b] for value in frame]
        for h in range(4):
            for w in range(4):
                assert seen[0][b, :, h, w].tolist() == numbers[(4 * h + w) * 8 : (4 * h + w + 1) * 8]
    deep = CHECKPOINT.to_released(nn.ModuleDict({"pooling": pooling}))
    volume = features.reshape(2, 1, 4, 4, 8)
    expected = F.conv3d(volume, deep["mer.conv3d.weight"], deep["mer.conv3d.bias"], padding=(1, 1, 0))
    torch.testing.assert_close(y, expected.squeeze(4))


@pytest.mark.parametrize("kind", ["rank", "residual", "approximate", "conv"])
def test_gradients_of_scorer_and_pooling(kind):
    features = torch.randn(2, 4, 16, dtype=torch.float64, requires_grad=True)
    scorer, pooling = RankScorer(16, 3).double(), make_pooling(kind, 4).double()
    assert torch.autograd.gradcheck(lambda f: pooling(f, scorer(f)), features)
    assert torch.autograd.gradcheck(lambda *_: rank_loss(scorer(features)), tuple(scorer.parameters()))


# The network.


@pytest.mark.parametrize(("length", "size"), [(8, 64), (5, 32), (2, 96)])
def test_shapes(length, size):
    output = small(clip_length=length, image_size=size)(clips(2, length, size))
    assert output.logits.shape == (2, 3)
    assert output.dynamic_image.shape == (2, size, size)
    assert output.rank_scores.shape == (2, length)
    assert output.dynamic_image.min() >= 0
    assert output.dynamic_image.max() <= 1


@pytest.mark.parametrize("size", [32, 64])
def test_shapes_of_released(size):
    output = small(variant="released", image_size=size)(clips(2, size=size))
    assert output.logits.shape == (2, 3)
    assert output.dynamic_image.shape == (2, size, size)
    assert output.rank_scores is None


def test_maps_of_the_published_encoder():
    encoder = FDP(5, tasks=("rank",)).encoder
    shapes = []
    for module in (encoder.stem[-1], *encoder.blocks):
        module.register_forward_hook(lambda module, arguments, result: shapes.append(tuple(result.shape[1:])))
    encoder(clips(1, length=2, size=64))
    assert shapes[0] == (64, 16, 16)
    stages = [(3, 96, 128, 16), (4, 192, 256, 8), (10, 384, 512, 4), (3, 768, 1024, 2)]
    blocks = [[(local, size, size)] * n + [(whole, size, size)] for n, local, whole, size in stages]
    assert shapes[1:] == list(chain(*blocks))


@pytest.mark.parametrize(
    ("variant", "tasks"),
    [
        ("paper", ("recognition",)),
        ("paper", ("dynamic_image",)),
        ("paper", ("rank",)),
        ("paper", ("recognition", "rank")),
        ("released", ("recognition",)),
        ("released", ("dynamic_image",)),
    ],
)
def test_every_parameter_of_the_tasks_that_are_on_is_trained_and_no_other_is_built(variant, tasks):
    model = small(variant=variant, tasks=tasks)
    output = model(clips())
    outputs = {
        "recognition": output.logits,
        "dynamic_image": output.dynamic_image,
        "rank": output.rank_scores,
    }
    assert {task for task, tensor in outputs.items() if tensor is not None} == set(tasks)
    sum(outputs[task].square().mean() for task in tasks).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name


@pytest.mark.parametrize("pooling", ["rank", "approximate", "mean", "conv", "residual"])
def test_the_scorer_is_built_where_the_pooling_or_the_task_needs_it(pooling):
    model = small(pooling=pooling, tasks=("recognition",))
    assert (model.scorer is not None) == (pooling in ("rank", "residual"))
    ranking = small(pooling=pooling)
    assert ranking.scorer is not None
    assert ranking(clips(1)).rank_scores.shape == (1, 8)


def test_parameter_counts():
    with torch.device("meta"):
        released, paper, reference = FDP(5, variant="released"), FDP(5), FDP(5)
    assert count(released) == 85_304_206
    assert all(p.requires_grad for p in released.parameters())
    assert count(paper) == 71_477_719
    # What the authors' code would have with its four global blocks: their convolution in every block.
    for block in reference.encoder.blocks:
        block.conv = make_local_conv(block.conv[0].in_channels, 32, variant="released")
    assert count(released) - count(released.encoder) + count(reference.encoder) == 96_251_342
    assert 0.4e6 < count(FDP(3, **TINY)) < 0.8e6


@torch.no_grad()
def test_width_multiplies_the_channels():
    with torch.device("meta"):
        model = FDP(5, width=0.25, head_size=8)
    channels = [block.mlp.conv1.in_channels for block in model.encoder.blocks if isinstance(block, GRA)]
    assert channels == [32, 64, 128, 256]
    assert model.encoder.stem[0].conv.out_channels == 16
    assert model.dynamic_image.encoder[0][0].conv.out_channels == 16


@torch.no_grad()
def test_a_score_belongs_to_the_clip_up_to_its_frame():
    model = settle(small())
    frames = clips(1)
    changed = frames.clone()
    changed[:, 3] += torch.randn(32, 32)
    differs = model(frames).rank_scores != model(changed).rank_scores
    assert differs[0].nonzero().flatten().tolist() == [3, 4, 5, 6, 7]


@torch.no_grad()
@pytest.mark.parametrize(
    "options", [{}, {"variant": "released"}, {"pooling": "residual", "reference": "first"}, {"image_detail": True}]
)
def test_a_clip_is_independent_of_its_batch(options):
    # In double precision, since rounding may choose another maximum, which SegNet remembers.
    model, frames = settle(small(**options)).double(), clips(3).double()
    together, alone = model(frames), model(frames[1:2])
    for name, tensor in vars(alone).items():
        if tensor is not None:
            torch.testing.assert_close(getattr(together, name)[1:2], tensor)


@torch.no_grad()
def test_segnet_gives_maxima_back_to_their_places():
    segnet = settle(SegNet(2, width=1 / 32))
    seen = []
    for stage in segnet.encoder:
        stage.register_forward_hook(lambda module, arguments, result: seen.append(result))
    for stage in segnet.decoder:
        stage.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    segnet(torch.randn(2, 2, 32, 32))
    for before, after in zip(seen[:5], seen[:4:-1], strict=True):
        maxima = before == F.max_pool2d(before, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
        assert (after[~maxima] == 0).all()


def test_stretch_scales_each_map_to_0_and_1():
    x = torch.tensor([[1.0, 3.0], [2.0, 5.0]])
    maps = torch.stack([x, 7 - 2 * x, torch.full((2, 2), 4.0)])[:, None].requires_grad_()
    image = stretch(maps)
    scaled = torch.tensor([[0, 0.5], [0.25, 1]])
    torch.testing.assert_close(image[:, 0], torch.stack([scaled, 1 - scaled, torch.zeros(2, 2)]))
    # The extremes are constants for the gradient: a pixel moves itself alone, by 1 / (maximum - minimum).
    image[:2, 0, 0, 1].sum().backward()
    expected = torch.zeros(3, 1, 2, 2)
    expected[:2, 0, 0, 1] = torch.tensor([1 / 4, 1 / 8])
    torch.testing.assert_close(maps.grad, expected)


@torch.no_grad()
def test_details_come_from_the_changes_of_the_first_convolution_s_maps():
    model = small(image_detail=True).eval()
    norm, deconv = model.dynamic_image.detail
    norm.running_mean.normal_()
    frames, seen = clips(2), []
    model.dynamic_image.decoder[-1].register_forward_hook(lambda module, arguments, result: seen.append(result))
    image = model(frames).dynamic_image
    maps = [model.encoder.stem[0](frames[:, t]) for t in range(8)]
    changes = sum(weight * m for weight, m in zip(approximate_weights(8), maps, strict=True))
    x = seen[0] + DETAIL_GAIN * deconv(norm(changes))
    torch.testing.assert_close(image, stretch(x)[:, 0])
    assert seen[0].std() == 0  # untrained, SegNet adds a constant
    assert (image.amin((1, 2)) == 0).all()
    assert (image.amax((1, 2)) == 1).all()


def test_without_details_the_network_is_the_published_one():
    plain, detailed = small(), small(image_detail=True)
    added = set(detailed.state_dict()) - set(plain.state_dict())
    assert {name.rsplit(".", 1)[0] for name in added} == {"dynamic_image.detail.0", "dynamic_image.detail.1"}
    assert set(plain.state_dict()) < set(detailed.state_dict())


def growing_clips(count: int) -> Tensor:
    """Faces of noise on which a spot, somewhere, grows brighter."""
    faces = 0.5 * torch.randn(count, 1, 1, 32, 32)
    spot = torch.zeros(count, 1, 1, 32, 32)
    for clip in spot:
        y, x = torch.randint(0, 24, (2,)).tolist()
        clip[..., y : y + 8, x : x + 8] = 1
    return faces + torch.linspace(0, 1.5, 8)[:, None, None, None] * spot


def test_the_rank_loss_orders_the_frames_of_held_out_clips():
    model = small(tasks=("rank",), reference="first", drop_path=0.0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        losses.append(rank_loss(model(growing_clips(8)).rank_scores))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]
    with torch.no_grad():
        scores = model.eval()(growing_clips(16)).rank_scores
    ordered = [(scores[:, j] > scores[:, i]).float().mean() for j in range(8) for i in range(j)]
    assert sum(ordered) / len(ordered) > 0.8


@pytest.mark.parametrize("options", [{"reference": "first", "pooling": "residual"}, {"variant": "released"}])
def test_compiles_whole_and_runs_under_autocast(options):
    model = settle(small(**options))
    frames = clips()
    with torch.no_grad():
        expected = model(frames)
        compiled = torch.compile(model, backend="eager", fullgraph=True)(frames)
        torch.testing.assert_close(compiled.dynamic_image, expected.dynamic_image)
        last = frames.to(memory_format=torch.channels_last_3d)
        torch.testing.assert_close(model(last).logits, expected.logits, atol=1e-4, rtol=1e-4)
        turned = model.to(memory_format=torch.channels_last)
        torch.testing.assert_close(turned(frames).logits, expected.logits, atol=1e-4, rtol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(frames)
    assert F.l1_loss(output.dynamic_image, expected.dynamic_image) < 0.02
    loss = output.logits.float().sum() + output.dynamic_image.float().sum()
    if output.rank_scores is not None:
        assert output.rank_scores.dtype == torch.float32
        loss = loss + output.rank_scores.sum()
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


# Extensions.


@torch.no_grad()
@pytest.mark.parametrize("options", [{"pooling": "mean"}, {"variant": "released"}])
def test_reference_takes_a_still_face_out(options):
    # Rank pooling would give a still face no weight anyway.
    plain, referred = (settle(small(**options, reference=r)) for r in (None, "first"))
    referred.load_state_dict(plain.state_dict())
    still_a, still_b = (clips(1, length=1).expand(-1, 8, -1, -1, -1) for _ in range(2))
    torch.testing.assert_close(referred(still_a).logits, referred(still_b).logits)
    assert not torch.allclose(plain(still_a).logits, plain(still_b).logits)


@torch.no_grad()
def test_reference_is_subtracted_from_the_stem_s_maps():
    encoder = settle(small(reference="first").encoder)
    seen = []
    encoder.blocks.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    frames = clips(2)
    encoder(frames)
    for b in range(2):
        maps = encoder.stem(frames[b])
        torch.testing.assert_close(seen[0][8 * b : 8 * b + 8], maps - maps[:1])


@torch.no_grad()
def test_flatten_keeps_where_the_last_maps_are():
    size = 64
    pooled, flat = (settle(small(image_size=size, flatten=f).encoder) for f in (False, True))
    assert pooled.project.in_features == 16
    assert flat.project.in_features == 16 * 2 * 2
    flat.load_state_dict({**pooled.state_dict(), "project.weight": pooled.project.weight.repeat_interleave(4, 1) / 4})
    frames = clips(1, size=size)
    torch.testing.assert_close(flat(frames), pooled(frames), atol=1e-5, rtol=1e-5)


def test_dropout_is_in_the_classifier_only():
    model = small(dropout=0.5, drop_path=0.0)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()
    frames = clips()
    first, second = model(frames), model(frames)
    assert not torch.allclose(first.logits, second.logits)
    torch.testing.assert_close(first.dynamic_image, second.dynamic_image)


# Refusals.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "published"}, "published.*paper"),
        ({"tasks": ("recognition", "flow")}, "flow.*dynamic_image"),
        ({"tasks": ()}, "one or more"),
        ({"tasks": ("rank",), "variant": "released"}, r"rank.*\('recognition', 'dynamic_image'\)"),
        ({"image_size": 100}, "100.*multiples of 32"),
        ({"image_size": 0}, "0.*multiples of 32"),
        ({"clip_length": 1}, "1.*2 or more"),
        ({"clip_length": 6, "variant": "released"}, "6.*8 in released"),
        ({"pooling": "max"}, "max.*rank"),
        ({"pooling": "rank", "variant": "released"}, "rank.*conv"),
        ({"reference": "last"}, "last.*first"),
        ({"width": 0}, "width = 0.*above 0"),
        ({"segnet_width": -1.0}, "segnet_width = -1.0.*above 0"),
        ({"lra_blocks": (1, 1, 1)}, r"lra_blocks = \(1, 1, 1\).*4 numbers"),
        ({"lra_blocks": (1, 0, 1, 1)}, "lra_blocks.*1 or more"),
        ({"stem_channels": (8, 8)}, "stem_channels.*4 numbers"),
    ],
)
def test_refuses_what_the_architecture_does_not_allow(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


@pytest.mark.parametrize("shape", [(1, 7, 1, 32, 32), (1, 8, 3, 32, 32), (1, 8, 1, 64, 64), (8, 1, 32, 32)])
def test_refuses_frames_of_another_shape(shape):
    with pytest.raises(ValueError, match=r"allowed: \[b, 8, 1, 32, 32\]"):
        small()(torch.zeros(shape))


# The authors' checkpoints.


@needs_shared
def test_released_names_and_shapes_are_the_authors():
    with (RELEASED / "fdp_state_dict.json").open() as file:
        published = json.load(file)
    with torch.device("meta"):
        model = FDP(5, variant="released")
    assert {name: list(tensor.shape) for name, tensor in CHECKPOINT.to_released(model).items()} == published


class Authors:
    """FDP as the specification tells of the authors' code, from a state dict of theirs, in eval mode."""

    def __init__(self, tensors: dict[str, Tensor]):
        self.tensors = tensors

    def conv(self, x: Tensor, name: str, **options) -> Tensor:
        return F.conv2d(x, self.tensors[f"{name}.weight"], self.tensors.get(f"{name}.bias"), **options)

    def norm(self, x: Tensor, name: str) -> Tensor:
        parts = (self.tensors[f"{name}.{p}"] for p in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts)

    def linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"])

    def frame(self, x: Tensor) -> Tensor:
        for i, stride in enumerate((2, 1, 1, 2)):
            name = f"frame_rep.stem.{i}"
            x = self.norm(self.conv(x, f"{name}.conv", stride=stride, padding=1), f"{name}.norm").relu()
        for i in range(20):
            name = f"frame_rep.features.{i}"
            if i in (3, 7, 17):
                x = F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
            if f"{name}.patch_embed.conv.weight" in self.tensors:
                x = self.norm(self.conv(x, f"{name}.patch_embed.conv"), f"{name}.patch_embed.norm")
            x = x + self.conv(x, f"{name}.mhca.group_conv3x3", padding=1)
            hidden = self.conv(self.norm(x, f"{name}.norm"), f"{name}.mlp.conv1").relu()
            x = x + self.conv(hidden, f"{name}.mlp.conv2")
        return self.linear(self.norm(x, "frame_rep.norm").mean(dim=(2, 3)), "frame_rep.proj_head.0")

    def dynamic_image(self, x: Tensor) -> Tensor:
        layers, places = (2, 2, 3, 3, 3), []
        for stage in range(1, 6):
            for layer in range(1, layers[stage - 1] + 1):
                number = f"{stage}{layer}"
                x = self.norm(self.conv(x, f"dyimg_net.conv{number}", padding=1), f"dyimg_net.bn{number}").relu()
            x, place = F.max_pool2d(x, 2, return_indices=True)
            places.append(place)
        for stage in range(5, 0, -1):
            x = F.max_unpool2d(x, places[stage - 1], 2)
            for layer in range(layers[stage - 1], 0, -1):
                number = f"{stage}{layer}d"
                x = self.conv(x, f"dyimg_net.conv{number}", padding=1)
                if number != "11d":
                    x = self.norm(x, f"dyimg_net.bn{number}").relu()
        return x.sigmoid().squeeze(1)

    def __call__(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        features = torch.stack([self.frame(frames[:, t]) for t in range(8)], dim=1)
        volume = features.reshape(len(frames), 1, *frames.shape[3:], 8)
        weight, bias = self.tensors["mer.conv3d.weight"], self.tensors["mer.conv3d.bias"]
        y = F.conv3d(volume, weight, bias, padding=(1, 1, 0)).squeeze(4)
        hidden = self.linear(F.max_pool2d(y, 3).flatten(1), "mer.fc1").relu()
        return self.linear(hidden, "mer.fc2"), self.dynamic_image(y)


@torch.no_grad()
def test_released_computes_what_the_authors_code_does():
    model = settle(FDP(3, variant="released", width=1 / 12, head_size=8))
    frames = clips(2, size=64)
    logits, dynamic_image = Authors(CHECKPOINT.to_released(model))(frames)
    output = model(frames)
    torch.testing.assert_close(output.logits, logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(output.dynamic_image, dynamic_image, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_released_computes_what_the_authors_code_does_in_full_size():
    # Only here the channels are enough for Winograd's convolutions.
    model = use_cpu_layers(settle(FDP(5, variant="released")))
    frames = clips(8, size=64)
    logits, dynamic_image = Authors(CHECKPOINT.to_released(model))(frames)
    output = model(frames)
    torch.testing.assert_close(output.logits, logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(output.dynamic_image, dynamic_image, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_released_tensors_go_there_and_back():
    source, target = (settle(small(variant="released")) for _ in range(2))
    theirs = {name: tensor.clone() for name, tensor in CHECKPOINT.to_released(source).items()}
    target.load_state_dict(CHECKPOINT.from_released(theirs, target))
    frames = clips(1)
    torch.testing.assert_close(vars(target(frames)), vars(source(frames)))


@pytest.fixture(scope="module")
def checkpoint() -> dict[str, Tensor]:
    """A full-sized checkpoint of four classes, each tensor of one value, so that nothing large is stored."""
    with torch.device("meta"):
        model = FDP(4, variant="released")
    shapes = {name: tensor.shape for name, tensor in CHECKPOINT.to_released(model).items()}
    return {name: torch.tensor(0.01 * i).expand(shape) for i, (name, shape) in enumerate(shapes.items())}


def test_load_released_from_a_file(checkpoint, tmp_path):
    torch.save(checkpoint, tmp_path / "fdp.pth")
    model = FDP.load_released(tmp_path / "fdp.pth")
    assert model.recognition.fc2.out_features == 4
    for name, tensor in CHECKPOINT.to_released(model).items():
        assert (tensor == checkpoint[name].to(tensor.dtype)).all(), name


def test_load_released_names_missing_unexpected_and_wrongly_shaped_tensors(checkpoint):
    faulty = dict(checkpoint)
    del faulty["frame_rep.features.3.norm.bias"]
    faulty["frame_rep.features.20.norm.bias"] = torch.zeros(768)
    faulty["mer.conv3d.weight"] = torch.zeros(8, 8, 3, 3)
    with pytest.raises(ValueError, match="missing") as caught:
        FDP.load_released(faulty)
    message = str(caught.value)
    assert "missing: frame_rep.features.3.norm.bias" in message
    assert "not expected: frame_rep.features.20.norm.bias" in message
    assert "wrong shape: mer.conv3d.weight [8, 8, 3, 3] instead of [8, 1, 3, 3, 8]" in message


def test_load_released_refuses_another_model(tmp_path):
    with pytest.raises(ValueError, match=r"FDP: mer\.fc2\.weight is missing"):
        FDP.load_released({"weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"missing: dyimg_net\.bn11\.bias"):
        FDP.load_released({"mer.fc2.weight": torch.zeros(5, 256)})
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"list\.pth contains a list, not a state dict"):
        FDP.load_released(tmp_path / "list.pth")
