import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from mefusion.models import MOL
from mefusion.models.mol.blocks import CCC, F5C, FCC
from mefusion.models.mol.flow_net import LK_DAMPING, LK_WINDOWS, Correlation, FlowNet, lucas_kanade
from mefusion.models.mol.released import CHECKPOINT
from mefusion.models.released import read_tensors
from tests.shared_files import RELEASED

needs_shared = pytest.mark.skipif(not RELEASED.is_dir(), reason="the authors' interface files are not here")
SMALL = {"width": 1 / 16, "flow_width": 1 / 32, "correlation_radius": 2, "image_size": 64}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def settle(module: nn.Module) -> nn.Module:
    """Give batch norm, and flow predictions that start at zero, values whose absence a test would see; eval mode."""
    for name, parameter in module.named_parameters():
        if "predict" in name and not parameter.any():
            parameter.data.normal_(std=0.1, generator=torch.Generator().manual_seed(1))
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.weight.data, part.running_var):
                tensor.uniform_(0.5, 1.5)
            for tensor in (part.bias.data, part.running_mean):
                tensor.normal_(std=0.5)
    return module.eval()


def small(num_classes: int = 3, **options) -> MOL:
    return MOL(num_classes, **{**SMALL, **options})


def clips(count: int = 2, length: int = 8, size: int = 64) -> Tensor:
    return torch.randn(count, length, 1, size, size)


# The equations, as loops.


def loop_circular(x: Tensor, weight: Tensor, bias: Tensor, axis: int) -> Tensor:
    """CC(x)[i] = b + sum_j w[j] x[(i + j) mod size] along an axis of ``[n, c, h, w]``, w ``[c, size]``."""
    y = torch.zeros_like(x) + bias[:, None, None]
    for j in range(x.shape[axis]):
        y += weight[:, j, None, None] * x.roll(-j, dims=axis)
    return y


def loop_fcc(fcc: FCC, x: Tensor) -> Tensor:
    size = x.shape[-1]
    x1, x2 = x.chunk(2, dim=1)
    y = []
    for part, half, axes in ((x1, fcc.halves[0], (2, 3)), (x2, fcc.halves[1], (3, 2))):
        p1, p2 = half.position_1[:, :, :size, :size], half.position_2[:, :, :size, :size]
        k1, k2 = (c.weight.flatten(1)[:, :size] for c in (half.conv_1, half.conv_2))
        b = loop_circular(half.norm(part + p1), k1, half.conv_1.bias, axes[0]) + p2
        y.append(part + loop_circular(b, k2, half.conv_2.bias, axes[1]))
    return torch.cat(y, dim=1)


def cosine(a: Tensor, b: Tensor) -> float:
    return (a @ b / (a.norm() * b.norm())).item()


def loop_ccc(ccc: CCC, x: Tensor, k: int) -> Tensor:
    """The edge-wise form: one product an edge."""
    w1, b1, w2, b2 = ccc.node.weight, ccc.node.bias, ccc.edge.weight, ccc.edge.bias
    out = []
    for f in x.flatten(2):
        channels, positions = f.shape
        if ccc.among_channels:
            near = [
                sorted((o for o in range(channels) if o != c), key=lambda o: -cosine(f[c], f[o]))[:k]
                for c in range(channels)
            ]
            differences = [[f[j] - f[c] for j in near[c]] for c in range(channels)]
        else:
            near = [sorted(range(positions), key=lambda o: -cosine(f[:, p], f[:, o]))[:k] for p in range(positions)]
            picked = torch.tensor(near)
            differences = [[f[c, picked[:, j]] - f[c] - f[c] for j in range(k)] for c in range(channels)]
        edges = [torch.stack([F.relu(w1 @ f[c] + b1 + w2 @ d + b2) for d in differences[c]]) for c in range(channels)]
        out.append(torch.stack([e.amax(dim=0) for e in edges]))
    return ccc.mix(torch.stack(out).reshape(x.shape))


def loop_correlation(a: Tensor, b: Tensor, radius: int) -> Tensor:
    n, _, height, width = a.shape
    steps = range(-radius, radius + 1)
    maps = torch.zeros(n, len(steps) ** 2, height, width, dtype=a.dtype)
    for index, (i, j) in enumerate((i, j) for i in steps for j in steps):
        for y in range(height):
            for x in range(width):
                v, u = y + 2 * i, x + 2 * j
                if 0 <= v < height and 0 <= u < width:
                    maps[:, index, y, x] = (a[:, :, y, x] * b[:, :, v, u]).mean(dim=1)
    return F.leaky_relu(maps, 0.1)


# Blocks.


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_fcc_computes_its_equations(variant):
    fcc = settle(FCC(6, 4, variant=variant))
    x = torch.randn(3, 6, 4, 4)
    expected = loop_fcc(fcc, x)
    if variant == "paper":
        expected = expected + fcc.ffn(expected)
    torch.testing.assert_close(fcc(x), expected)


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_ccc_equals_its_edgewise_form(variant):
    ccc = CCC(6, 4, neighbors=3, variant=variant)
    x = torch.randn(2, 6, 4, 4)
    torch.testing.assert_close(ccc(x), loop_ccc(ccc, x, 3), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("radius", "size"), [(0, 4), (1, 6), (4, 6)])
def test_correlation_equals_its_loop(radius, size):
    a, b = torch.randn(2, 2, 3, size, size)
    torch.testing.assert_close(Correlation(radius, size)(a, b), loop_correlation(a, b, radius))


def test_f5c_adds_ccc_to_fcc():
    f5c = settle(F5C(6, 4, neighbors=2, variant="paper"))
    x = torch.randn(2, 6, 4, 4)
    u = f5c.fcc(x)
    torch.testing.assert_close(f5c(x), u + f5c.ccc(u))


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_gradients_of_fcc_and_ccc(variant):
    x = torch.randn(2, 4, 4, 4, dtype=torch.float64, requires_grad=True)
    for block in (FCC(4, 4, variant=variant), CCC(4, 4, neighbors=2, variant=variant)):
        block = settle(block).double()
        used = [p for n, p in block.named_parameters() if variant == "paper" or "ffn" not in n]
        assert torch.autograd.gradcheck(lambda *_, block=block: block(x), (x, *used))


def test_gradients_of_correlation():
    a, b = torch.randn(2, 1, 2, 4, 4, dtype=torch.float64).requires_grad_().unbind()
    assert torch.autograd.gradcheck(Correlation(2, 4), (a, b))


@pytest.fixture(scope="module")
def blocks() -> dict[str, Tensor]:
    with np.load(RELEASED / "mol_blocks.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def load_authors_block(block: nn.Module, prefix: str, blocks: dict[str, Tensor]) -> nn.Module:
    """Load a block by the released table, as the first of a MOL's."""
    theirs = CHECKPOINT.to_released(nn.ModuleDict({"f5c": nn.ModuleList([nn.ModuleDict({prefix: block})])}))
    for name, tensor in theirs.items():
        if ".ffn." not in name:
            tensor.copy_(blocks[f"{prefix}.{name.partition('.')[2]}"])
    return block.eval()


@needs_shared
@torch.no_grad()
def test_released_blocks_give_the_authors_numbers(blocks):
    fcc = load_authors_block(FCC(128, 16, variant="released"), "fcc", blocks)
    torch.testing.assert_close(fcc(blocks["x"]), blocks["fcc_of_x"], atol=1e-4, rtol=1e-4)
    ccc = load_authors_block(CCC(128, 16, neighbors=4, variant="released"), "ccc", blocks)
    torch.testing.assert_close(ccc(blocks["fcc_of_x"]), blocks["ccc_of_fcc"], atol=1e-4, rtol=1e-4)


@needs_shared
def test_correlation_gives_the_authors_numbers(blocks):
    maps = Correlation(10, 16)(blocks["corr_a"], blocks["corr_b"])
    torch.testing.assert_close(maps, blocks["corr"], atol=1e-4, rtol=1e-4)


# The network.


@pytest.mark.parametrize("variant", ["paper", "released"])
@pytest.mark.parametrize(("length", "size"), [(8, 64), (5, 128)])
def test_shapes(variant, length, size):
    model = small(variant=variant, clip_length=length, image_size=size)
    output = model(clips(2, length, size))
    assert output.logits.shape == (2, 3)
    assert output.flow.shape == (2, length - 1, 2, size, size)
    assert output.landmarks.shape == (2, length - 1, 68, 2)


@pytest.mark.parametrize("variant", ["paper", "released"])
@pytest.mark.parametrize("tasks", [("recognition",), ("flow",), ("landmarks",), ("flow", "landmarks")])
def test_every_parameter_of_the_tasks_that_are_on_is_trained_and_no_other_is_built(variant, tasks):
    model = small(variant=variant, tasks=tasks, share_f5c=False)
    output = model(clips(1))
    outputs = {"recognition": output.logits, "flow": output.flow, "landmarks": output.landmarks}
    assert {task for task, tensor in outputs.items() if tensor is not None} == set(tasks)
    sum(outputs[task].square().mean() for task in tasks).backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        assert parameter.requires_grad or (variant == "released" and ".ffn." in name)


def test_parameter_counts():
    released = MOL(5, variant="released")
    assert sum(p.numel() for p in released.parameters()) == 44_105_379
    assert sum(p.numel() for p in released.flow_net.parameters()) == 39_730_282
    frozen = {n for n, p in released.named_parameters() if not p.requires_grad}
    assert frozen == {n for n, _ in released.named_parameters() if ".ffn." in n}
    tiny = MOL(3, width=0.25, flow_width=1 / 16, correlation_radius=2, flow_scale=4)
    assert 0.7e6 < sum(p.numel() for p in tiny.parameters()) < 1.5e6


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_variants_share_f5c_or_not(variant):
    own = 1 if variant == "paper" else 2
    assert len(small(variant=variant).f5c) == own
    assert len(small(variant=variant, share_f5c=True).f5c) == 1
    assert len(small(variant=variant, share_f5c=False).f5c) == 2


@torch.no_grad()
@pytest.mark.parametrize(
    "options", [{}, {"variant": "released"}, {"flow_differences": 5.0, "flow_scale": 4}, {"flow_closed_form": True}]
)
def test_entries_belong_to_their_pair_and_frame(options):
    model = settle(small(**options))
    frames = clips(1)
    changed = frames.clone()
    changed[:, 3] += torch.randn(64, 64)
    before, after = model(frames), model(changed)
    flows = (before.flow != after.flow).flatten(2).any(dim=2)[0]
    landmarks = (before.landmarks != after.landmarks).flatten(2).any(dim=2)[0]
    assert flows.nonzero().flatten().tolist() == [2, 3]
    assert landmarks.nonzero().flatten().tolist() == [2]


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"variant": "released"}, {"flow_differences": 5.0, "reference": "first"}])
def test_a_clip_is_independent_of_its_batch(options):
    model = settle(small(**options))
    frames = clips(3)
    together, alone = model(frames), model(frames[1:2])
    for name in ("logits", "flow", "landmarks"):
        torch.testing.assert_close(getattr(together, name)[1:2], getattr(alone, name), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_released_recognition_interleaves_the_pairs_in_time():
    head = small(variant="released").recognition.eval()
    first, second = torch.randn(2, 2, 7, 8, 8, 8)
    seen = []
    head.conv.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    head(first, second)
    for t in range(7):
        torch.testing.assert_close(seen[0][..., 2 * t], first[:, t])
        torch.testing.assert_close(seen[0][..., 2 * t + 1], second[:, t])


@torch.no_grad()
def test_paper_recognition_joins_a_pair_on_channels():
    head = small().recognition.eval()
    first, second = torch.randn(2, 2, 7, 8, 8, 8)
    seen = []
    head.conv.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    head(first, second)
    torch.testing.assert_close(seen[0][:, :8].transpose(1, 2), first)
    torch.testing.assert_close(seen[0][:, 8:].transpose(1, 2), second)


def test_compiles_whole_and_runs_under_autocast():
    model = settle(small(reference="first", flow_differences=5.0))
    frames = clips()
    with torch.no_grad():
        expected = model(frames)
        compiled = torch.compile(model, backend="eager", fullgraph=True)(frames)
        torch.testing.assert_close(compiled.flow, expected.flow)
        last = frames.to(memory_format=torch.channels_last_3d)
        torch.testing.assert_close(model(last).logits, expected.logits, atol=1e-4, rtol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(frames)
    assert output.landmarks.dtype == torch.float32
    (output.logits.float().sum() + output.flow.float().sum() + output.landmarks.sum()).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


# Extensions.


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"variant": "released"}])
def test_reference_takes_a_still_face_out_of_recognition_only(options):
    plain, referred = (settle(small(**options, reference=r)) for r in (None, "first"))
    referred.load_state_dict(plain.state_dict())
    still_a, still_b = (clips(1, length=1).expand(-1, 8, -1, -1, -1) for _ in range(2))
    torch.testing.assert_close(referred(still_a).logits, referred(still_b).logits)
    assert not torch.allclose(plain(still_a).logits, plain(still_b).logits)
    torch.testing.assert_close(referred(still_a).flow, plain(still_a).flow)
    torch.testing.assert_close(referred(still_a).landmarks, plain(still_a).landmarks)


@torch.no_grad()
def test_frame_differences_are_scaled_and_reach_both_encodings_and_the_full_skip():
    net = settle(FlowNet(4, image_size=64, width=1 / 32, correlation_radius=1, differences=5.0))
    frames, features = clips(2, length=4), torch.randn(2, 3, 4, 8, 8)
    encoded, skips = [], []
    net.conv1.register_forward_pre_hook(lambda module, arguments: encoded.append(arguments[0]))
    net.decoder[-1].register_forward_pre_hook(lambda module, arguments: skips.append(arguments[2]))
    net(frames, features, features)
    difference = 5 * (frames[:, 1:] - frames[:, :-1])
    first = torch.cat([frames[:, :-1], difference], dim=2).flatten(0, 1)
    second = torch.cat([frames[:, 1:], difference], dim=2).flatten(0, 1)
    torch.testing.assert_close(encoded[0], torch.cat([first, second]))
    torch.testing.assert_close(skips[0], first)


@torch.no_grad()
@pytest.mark.parametrize("scale", [2, 4, 8])
def test_flow_scale_upsamples_a_coarser_flow_of_the_same_net(scale):
    full, coarse = (settle(small(tasks=("flow",), flow_scale=s)) for s in (1, scale))
    coarse.load_state_dict(full.state_dict(), strict=False)
    levels = []
    full.flow_net.decoder[len(coarse.flow_net.decoder) - 1].register_forward_hook(
        lambda module, arguments, result: levels.append(result[1])
    )
    frames = clips(1)
    full(frames)
    assert levels[0].shape[-1] == 64 // scale
    expected = F.interpolate(levels[0], scale_factor=scale, mode="bilinear", align_corners=False)
    torch.testing.assert_close(coarse(frames).flow[0], expected)


def test_landmarks_start_at_the_mean_shape():
    model = small()
    shape = torch.rand(68, 2) * 64
    model.initialise_landmarks(shape)
    landmarks = model(clips()).landmarks
    torch.testing.assert_close(landmarks, shape.expand_as(landmarks))
    landmarks.square().sum().backward()
    assert model.landmarks.fc2.weight.grad.abs().sum() > 0


def test_landmarks_refuse_what_is_no_mean_shape():
    with pytest.raises(ValueError, match=r"\(136,\).*\(68, 2\)"):
        small().initialise_landmarks(torch.zeros(136))
    with pytest.raises(ValueError, match="landmark task is off"):
        small(tasks=("flow",)).initialise_landmarks(torch.zeros(68, 2))


# Refusals.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "published"}, "published.*paper"),
        ({"tasks": ("recognition", "optical flow")}, "optical flow.*landmarks"),
        ({"tasks": ()}, "one or more"),
        ({"image_size": 96}, "96.*multiples of 64"),
        ({"image_size": 100, "tasks": ("landmarks",)}, "100.*multiples of 32"),
        ({"image_size": 320, "variant": "released"}, "320.*256"),
        ({"clip_length": 3}, "3.*4 or more"),
        ({"clip_length": 1, "tasks": ("flow",)}, "1.*2 or more"),
        ({"reference": "last"}, "last.*first"),
        ({"flow_scale": 3}, "3.*1, 2, 4, 8"),
        ({"neighbors": 8}, "8.*1 to 7"),
    ],
)
def test_refuses_what_the_architecture_does_not_allow(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


@pytest.mark.parametrize("shape", [(1, 7, 1, 64, 64), (1, 8, 3, 64, 64), (1, 8, 1, 128, 128), (8, 1, 64, 64)])
def test_refuses_frames_of_another_shape(shape):
    with pytest.raises(ValueError, match=r"allowed: \[b, 8, 1, 64, 64\]"):
        small()(torch.zeros(shape))


# The authors' checkpoints.


@needs_shared
def test_released_names_and_shapes_are_the_authors():
    with (RELEASED / "mol_state_dict.json").open() as file:
        published = json.load(file)
    with torch.device("meta"):
        model = MOL(5, variant="released")
    assert {name: list(tensor.shape) for name, tensor in CHECKPOINT.to_released(model).items()} == published


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
        model = MOL(4, variant="released")
    shapes = {name: tensor.shape for name, tensor in CHECKPOINT.to_released(model).items()}
    return {name: torch.tensor(0.01 * i).expand(shape) for i, (name, shape) in enumerate(shapes.items())}


def test_load_released_from_a_file(checkpoint, tmp_path):
    torch.save(checkpoint, tmp_path / "mol.pth")
    model = MOL.load_released(tmp_path / "mol.pth")
    assert model.recognition.fc2.out_features == 4
    assert len(model.f5c) == 2
    for name, tensor in CHECKPOINT.to_released(model).items():
        assert (tensor == checkpoint[name].to(tensor.dtype)).all(), name


def test_read_tensors_from_safetensors(tmp_path):
    save_file({"weight": torch.arange(3)}, tmp_path / "some.safetensors")
    assert read_tensors(str(tmp_path / "some.safetensors"))["weight"].tolist() == [0, 1, 2]


def test_load_released_names_missing_unexpected_and_wrongly_shaped_tensors(checkpoint):
    faulty = dict(checkpoint)
    del faulty["FCC_2.ffn.4.bias"]
    faulty["FCC_3.meta_pe_1_H"] = torch.zeros(1)
    faulty["flownet.conv4.0.weight"] = torch.zeros(512, 256, 3)
    with pytest.raises(ValueError, match="missing") as caught:
        MOL.load_released(faulty)
    message = str(caught.value)
    assert "missing: FCC_2.ffn.4.bias" in message
    assert "not expected: FCC_3.meta_pe_1_H" in message
    assert "wrong shape: flownet.conv4.0.weight [512, 256, 3] instead of [512, 256, 3, 3]" in message


def test_load_released_refuses_another_model():
    with pytest.raises(ValueError, match=r"mer_3dcnn\.fc2\.weight is missing"):
        MOL.load_released({"weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"missing: CCC_1\.conv1\.bias"):
        MOL.load_released({"mer_3dcnn.fc2.weight": torch.zeros(5, 256)})


@torch.no_grad()
def test_flow_from_differences_starts_at_no_motion():
    assert not small(flow_differences=5.0)(clips(1)).flow.any()
    assert small()(clips(1)).flow.any()


@torch.no_grad()
def test_lucas_kanade_finds_small_motions():
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")

    def frame(right: float, down: float) -> Tensor:
        return 4 * ((0.3 * (x - right)).sin() + (0.25 * (y - down)).sin())[None, None]

    for right, down in ((0.3, -0.2), (-0.1, 0.4)):
        flows = lucas_kanade(frame(0, 0), frame(right, down), scale=4)
        assert flows.shape == (1, 2 * len(LK_WINDOWS), 16, 16)
        largest = flows[0, -2:, 3:-3, 3:-3]
        torch.testing.assert_close(largest.mean((1, 2)), torch.tensor([right, down]), atol=0.02, rtol=0)
    assert not lucas_kanade(frame(0, 0), frame(0, 0), scale=4).any()
    assert not lucas_kanade(torch.zeros(1, 1, 64, 64), torch.ones(1, 1, 64, 64), scale=4).any()


@torch.no_grad()
def test_lucas_kanade_of_a_ramp():
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    flows = lucas_kanade(ramp, ramp - 0.5, scale=2)  # gradient (1, 0), half a pixel to the right
    expected = torch.tensor([0.5 / (1 + LK_DAMPING), 0])
    torch.testing.assert_close(flows[0, :2, 1, 2], expected)


@torch.no_grad()
@pytest.mark.parametrize("scale", [1, 4])
def test_the_finest_level_gets_the_flow_in_closed_form(scale):
    model = small(tasks=("flow",), flow_closed_form=True, flow_scale=scale).eval()
    frames = clips(2)
    assert not model(frames).flow.any()  # it starts at no motion
    finest = model.flow_net.decoder[-1]
    skip = finest.predict.in_channels - 2 - finest.deconv[0].out_channels
    finest.predict.weight[:, skip - 2 : skip, 1, 1] = torch.eye(2)
    pairs = (part.flatten(0, 1) for part in (frames[:, :-1], frames[:, 1:]))
    flow = lucas_kanade(*pairs, scale=scale)[:, -2:]
    if scale > 1:
        flow = F.interpolate(flow, scale_factor=scale, mode="bilinear", align_corners=False)
    torch.testing.assert_close(model(frames).flow.flatten(0, 1), flow)
