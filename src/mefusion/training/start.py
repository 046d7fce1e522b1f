"""What a training starts from: weights of another training, and which parts of the network keep theirs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import lightning as L
from torch import Tensor, nn

from mefusion.common.errors import MefusionError


@dataclass(frozen=True)
class Start:
    """Weights that the networks of a study start from.

    Attributes:
        tensors: by their names in the network; what is not among them starts at random.
        frozen: names of submodules whose weights do not train.
    """

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    frozen: Sequence[str] = ()

    def give(self, network: nn.Module) -> None:
        """Give a new network its weights, and freeze its parts.

        Raises:
            MefusionError: the network has no such part.
        """
        network.load_state_dict({**network.state_dict(), **self.tensors})
        for part in frozen_parts(network, self.frozen):
            part.requires_grad_(False)


def frozen_parts(network: nn.Module, names: Sequence[str]) -> Iterator[nn.Module]:
    """The submodules of a network that have these names; those inside them belong to them.

    Raises:
        MefusionError: the network has no such part.
    """
    parts = {name: part for name, part in network.named_modules() if name and next(part.parameters(), None) is not None}
    for name in names:
        if name not in parts:
            allowed = ", ".join(own for own in parts if own.count(".") < 2)
            raise MefusionError(
                f"model.freeze={name}: {type(network).__name__} has no such part; choose from {allowed}"
            )
        yield parts[name]


class KeepFrozen(L.Callback):
    """Keeps frozen parts in evaluation mode: their batch norm neither learns statistics nor uses those of a batch.

    Args:
        names: of the parts.
    """

    def __init__(self, names: Sequence[str]):
        self.names = names

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Called by Lightning, which has set the whole module to training mode."""
        for part in frozen_parts(pl_module.network, self.names):  # type: ignore[arg-type]
            part.eval()
