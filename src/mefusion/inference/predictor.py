"""Predict clips with the network of a bundle."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mefusion.acceleration import use_cpu_layers
from mefusion.common.errors import MefusionError
from mefusion.evaluation.calibration import with_temperature
from mefusion.inference.bundle import Bundle, build_network, input_maker, read_bundle
from mefusion.inference.inputs import PreparedClip
from mefusion.windows.store import normalised

BATCH_SIZE = 16  # windows; more take more memory, and hardly less time


def load_bundle(folder: str | Path, *, device: str = "cpu", network: type[nn.Module] | None = None) -> "Predictor":
    """Load a bundle, to predict clips with it.

    Args:
        folder: of the bundle, which `mefusion-export` has written.
        device: `cpu`, or `cuda` for a GPU.
        network: the class of a network that is none of `mefusion.models`; a bundle itself never runs code.

    Raises:
        MefusionError: the folder is no bundle; a file is missing, damaged or changed; the network is unknown; or there
            is no such device.
    """
    bundle = read_bundle(folder)
    if device.partition(":")[0] not in ("cpu", "cuda") or (device != "cpu" and not torch.cuda.is_available()):
        raise MefusionError(f"device={device}: torch finds no such device; choose cpu")
    return Predictor(bundle, build_network(bundle, network), device=device)


class Predictor:
    """A trained network that predicts clips from their frames.

    Args:
        bundle: what the network is and needs.
        network: with its trained weights, in evaluation mode.
        device: where it computes.

    Attributes:
        name: of the study that the network comes from.
        classes: their names.
        facts: all of `bundle.json`.
        bundle: the same as typed values.
        inputs: makes the network's inputs from the frames of a clip.
    """

    def __init__(self, bundle: Bundle, network: nn.Module, *, device: str = "cpu"):
        self.bundle, self.device = bundle, torch.device(device)
        if self.device.type == "cpu":
            use_cpu_layers(network)
        self._network = network.to(self.device)
        self.inputs = input_maker(bundle)
        self._view = self.inputs.make_view()
        self._mean, self._std = (
            torch.tensor(values, dtype=torch.float32, device=self.device)[:, None, None]
            for values in (bundle.mean, bundle.std)
        )

    @property
    def name(self) -> str:
        """Name of the study that the network comes from."""
        return str(self.bundle.facts["name"])

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.bundle.classes

    @property
    def facts(self) -> Mapping[str, Any]:
        """All of `bundle.json`."""
        return self.bundle.facts

    def predict(
        self, clip: Sequence[np.ndarray] | str | Path, *, apex: int | None = None, landmarks: np.ndarray | None = None
    ) -> dict[str, float]:
        """Probability of each class for one clip.

        Args:
            clip, apex, landmarks: see `InputMaker`: pictures [n, H, W, 3] uint8 RGB from onset to offset, or a path.

        Returns:
            class -> probability; they sum to 1.

        Raises:
            MefusionError: the clip cannot be read, or has no face.
        """
        (probabilities,) = self.probabilities([self.prepare(clip, apex=apex, landmarks=landmarks)])
        return dict(zip(self.classes, probabilities.tolist(), strict=True))

    def prepare(
        self,
        clip: Sequence[np.ndarray] | str | Path,
        *,
        apex: int | None = None,
        landmarks: np.ndarray | None = None,
        origin: object = "the clip",
    ) -> PreparedClip:
        """Prepare one clip, for `probabilities`; see `InputMaker`.

        Raises:
            MefusionError: the clip cannot be read, or has no face.
        """
        return self.inputs(clip, apex=apex, landmarks=landmarks, origin=origin)

    def probabilities(self, clips: Sequence[PreparedClip]) -> np.ndarray:
        """Probabilities of prepared clips, computed in batches: float64 [clips, classes].

        A clip's probabilities are the mean over its windows, calibrated by the bundle's temperature.
        """
        windows = [window for clip in clips for window in clip.windows]
        if not windows:
            return np.empty((0, len(self.classes)))
        inputs = torch.from_numpy(self._view.collate(windows)["inputs"])
        parts = [self._of_windows(part) for part in inputs.split(BATCH_SIZE)]
        ends = np.cumsum([len(clip.windows) for clip in clips])[:-1]
        means = np.stack([part.mean(axis=0) for part in np.split(torch.cat(parts).numpy(), ends)])
        return with_temperature(means, self.bundle.temperature)

    @torch.inference_mode()
    def _of_windows(self, inputs: Tensor) -> Tensor:
        normal = normalised(inputs.to(self.device), scale=self._view.scale, mean=self._mean, std=self._std)
        return self._network(normal).logits.float().softmax(1).cpu().double()
