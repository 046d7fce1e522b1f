"""Times a training step against the same released network computed in the order of its authors' code.

    python experiments/benchmarks/authors_order.py --model mol --batch-size 2

The authors' order: MOL goes through a clip pair by pair, so that the inner frames are seen twice, correlates in a loop
over the displacements, and has a product for each edge of CCC and a depth-wise circular convolution; STSTNet has its
streams one after the other; all layers are PyTorch's own, and the optimiser is not fused. Weights and batch are ours,
and so are the outputs in evaluation, which is asserted first, in double precision. In training, MOL's batch norm takes
its statistics call by call there. Both keep freed memory, as in `mefusion-train`.
"""

import argparse
import copy
import statistics
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mefusion.acceleration import use_plain_layers
from mefusion.bench.measuring import BenchModel, time_in_turn
from mefusion.bench.settings import Settings
from mefusion.models.mol import MOL, MOLOutput
from mefusion.models.mol.blocks import CCC, CircularConv, nearest
from mefusion.models.mol.flow_net import SLOPE, Correlation
from mefusion.processes.memory import reuse_freed_memory

NAMES = {"mol": "mol_released", "fdp": "fdp_released", "ststnet": "ststnet"}  # in conf/model/
FIELDS = {"mol": ("logits", "flow", "landmarks"), "fdp": ("logits", "dynamic_image"), "ststnet": ("logits",)}


class DepthwiseCircularConv(CircularConv):
    """By a depth-wise convolution of the map with its beginning repeated at its end."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``[n, c, h, w]`` along the axis."""
        axis = 2 if self.axis == "h" else 3
        repeated = torch.cat([x, x.narrow(axis, 0, self.size - 1)], dim=axis)
        return F.conv2d(repeated, self.weight.narrow(axis, 0, self.size), self.bias, groups=x.shape[1])


class EdgewiseCCC(CCC):
    """With a product for each edge: max_j ReLU(W1 f_c + b1 + W2 (g_cj - f_c) + b2), g_cj = f_c(nn(., j)) - f_c."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, c, h, w]`` to the same shape."""
        f = x.flatten(2)
        neighbors = nearest(f.mT, self.neighbors, include_self=True).unbind(2)
        moved = torch.stack([f.gather(2, index[:, None].expand_as(f)) for index in neighbors], dim=2)
        g = moved - f[:, :, None]
        edges = F.relu(self.node(f)[:, :, None] + self.edge(g - f[:, :, None]))
        return edges.amax(dim=2).unflatten(2, x.shape[2:])


class LoopCorrelation(Correlation):
    """Displacement by displacement, over a padded map."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Correlate ``[n, c, h, w]`` twice to ``[n, (2 radius + 1)**2, h, w]``."""
        height, width = a.shape[2:]
        b = F.pad(b, [2 * self.radius] * 4)
        shifts = range(0, 4 * self.radius + 1, 2)
        maps = [(a * b[:, :, i : i + height, j : j + width]).mean(dim=1) for i in shifts for j in shifts]
        return F.leaky_relu(torch.stack(maps, dim=1), SLOPE)


AUTHORS: dict[type[nn.Module], type[nn.Module]] = {
    CircularConv: DepthwiseCircularConv,
    CCC: EdgewiseCCC,
    Correlation: LoopCorrelation,
}


class PairByPair(nn.Module):
    """MOL's tasks for each pair of frames on its own, and recognition at the end."""

    def __init__(self, network: MOL) -> None:
        super().__init__()
        self.network = network

    def forward(self, clips: Tensor) -> MOLOutput:
        """See `MOL.forward`."""
        net = self.network
        pairs = []
        for frames in pairwise(clips.unbind(1)):
            first, second = (f5c(net.stem(frame))[:, None] for f5c, frame in zip(net.f5c, frames, strict=True))
            flow = net.flow_net(torch.stack(frames, dim=1), first, second)
            pairs.append((first, second, flow, net.landmarks(second)))
        first, second, flow, landmarks = (torch.cat(parts, dim=1) for parts in zip(*pairs, strict=True))
        return MOLOutput(logits=net.recognition(first, second), flow=flow, landmarks=landmarks)


def in_authors_order(network: nn.Module) -> nn.Module:
    """A copy of a released MOL or FDP, or of STSTNet, that computes in the order of the authors' code."""
    network = use_plain_layers(copy.deepcopy(network))
    for module in network.modules():
        module.__class__ = AUTHORS.get(type(module), type(module))  # the parameters stay as they are
    return PairByPair(network) if isinstance(network, MOL) else network


def make_both(model: str, overrides: Sequence[str], batch_size: int) -> tuple[BenchModel, BenchModel]:
    """Our step and the authors', with the same weights and the same batch."""
    settings = Settings(batch_size=batch_size)
    ours, theirs = (BenchModel([f"model={NAMES[model]}", *overrides], settings) for _ in range(2))
    theirs.module.network = in_authors_order(ours.module.network)
    theirs.batch = ours.batch
    (group,) = ours.optimizer.param_groups
    learning = [parameter for parameter in theirs.module.parameters() if parameter.requires_grad]
    theirs.optimizer = type(ours.optimizer)(learning, lr=group["lr"], weight_decay=group["weight_decay"])
    return ours, theirs


@torch.no_grad()
def assert_same(model: str, ours: BenchModel, theirs: BenchModel) -> None:
    """In evaluation, both say the same of the batch's first two clips.

    In double precision: rounding decides between neighbours that are equally near, and between the maxima of a pooling
    window that are equally large, and a network that has not learned anything has many.
    """
    inputs = ours.batch.inputs[:2].double()
    mine, other = (model.module.eval().double()(inputs) for model in (ours, theirs))
    for name in FIELDS[model]:
        torch.testing.assert_close(getattr(mine, name), getattr(other, name), atol=1e-4, rtol=0)
    for model in (ours, theirs):
        model.module.float()


def main(argv: Sequence[str] | None = None) -> None:
    """Print the seconds of both steps and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("overrides", metavar="OVERRIDE", nargs="*", help="of conf/train.yaml")
    parser.add_argument("--model", choices=NAMES, required=True)
    parser.add_argument("--batch-size", metavar="N", type=int, required=True)
    parser.add_argument("--steps", metavar="N", type=int, default=5, help="steps of each to time, in turn")
    parser.add_argument("--threads", metavar="N", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    both = make_both(arguments.model, arguments.overrides, arguments.batch_size)
    assert_same(arguments.model, *both)
    for model in both:
        model.module.train()
        model.training_step()
    times = time_in_turn([model.training_step for model in both], steps=arguments.steps)
    ours, theirs = map(statistics.median, times)
    print(
        f"{NAMES[arguments.model]}, batch {arguments.batch_size}, {arguments.threads} threads, medians of "
        f"{arguments.steps} steps: ours {ours:.3g} s, in the authors' order {theirs:.3g} s: {theirs / ours:.2f} times"
    )


if __name__ == "__main__":
    reuse_freed_memory()  # for both, as in mefusion-train
    main()
