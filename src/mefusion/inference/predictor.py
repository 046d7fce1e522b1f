"""Predict clips with the network of a bundle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mefusion.acceleration import use_cpu_layers
from mefusion.common.errors import MefusionError, first_line
from mefusion.evaluation.calibration import with_temperature
from mefusion.inference.bundle import DESCRIPTION, SHIPPED, Bundle, input_maker, read_bundle, unusable
from mefusion.inference.inputs import PreparedClip
from mefusion.inference.networks import build_network
from mefusion.inference.seen import MOTION, Seen, seen_by
from mefusion.windows.store import normalised

UNREAL = "which has seen rendered motion only, and no real face"
BATCH_SIZE = 16  # windows; more take more memory, and hardly less time


@dataclass(frozen=True)
class Answers:
    """What a network says of clips.

    Attributes:
        probabilities: [clips, classes] float64, calibrated by the bundle's temperature.
        units: [clips, units] float64, probability of each action unit of the bundle; it may have none.
    """

    probabilities: np.ndarray
    units: np.ndarray


def load_bundle(
    folder: str | Path = SHIPPED, *, device: str = "cpu", network: type[nn.Module] | None = None
) -> "Predictor":
    """Load a bundle, to predict clips with it.

    Args:
        folder: of the bundle, which `mefusion-export` has written; by default that which comes with mefusion.
        device: `cpu`, or `cuda` for a GPU.
        network: the class of a network that is none of `mefusion.models`; a bundle itself never runs code.

    Raises:
        MefusionError: the folder is no bundle; a file is missing, damaged or changed; the network is unknown; or there
            is no such device.
    """
    bundle = read_bundle(folder)
    if device != "cpu" and device not in _gpus():
        raise MefusionError(f"device={device}: torch finds no such device; choose {' or '.join(['cpu', *_gpus()])}")
    predictor = Predictor(bundle, build_network(bundle, network), device=device)
    predictor.try_out()
    return predictor


def _gpus() -> list[str]:
    count = torch.cuda.device_count()
    return ["cuda", *(f"cuda:{number}" for number in range(count))] if count else []


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
    def described(self) -> str:
        """Its name, and what has to be known wherever its answers are shown."""
        return f"{self.name}, {UNREAL}" if self.seen.known and self.seen.datasets == [MOTION] else self.name

    @cached_property
    def seen(self) -> Seen:
        """What it was trained on, with what the weights had seen that it started from."""
        return seen_by(self.facts["data"])

    @property
    def is_shipped(self) -> bool:
        """Whether it is the bundle that comes with mefusion."""
        return self.bundle.folder.resolve() == SHIPPED.resolve()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.bundle.classes

    @property
    def units(self) -> tuple[int, ...]:
        """Numbers of the action units that the network tells; none if it was not trained to."""
        return self.bundle.units

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
            MefusionError: the clip cannot be read, has no face, or shows no motion to read.
        """
        prepared = self.prepare(clip, apex=apex, landmarks=landmarks)
        if still := self.no_motion(prepared):
            raise MefusionError(f"{clip if isinstance(clip, str | Path) else 'the clip'} shows {still}")
        (probabilities,) = self.probabilities([prepared])
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

    def no_motion(self, clip: PreparedClip) -> str:
        """Says that a prepared clip moves too little to be named; empty if it does not, or if the network names all."""
        least = self.bundle.least_motion
        if clip.motion is None or clip.motion >= least:
            return ""
        return f"no motion to read: {clip.motion:.2f} px, below {least:g} px of the aligned face"

    def probabilities(self, clips: Sequence[PreparedClip]) -> np.ndarray:
        """Probabilities of the classes alone, see `answers`: float64 [clips, classes]."""
        return self.answers(clips).probabilities

    def answers(self, clips: Sequence[PreparedClip]) -> Answers:
        """What the network says of prepared clips, computed in batches; of a clip, the mean over its windows.

        Raises:
            MefusionError: the network gives numbers that are not finite.
        """
        windows = [window for clip in clips for window in clip.windows]
        if not windows:
            return Answers(np.empty((0, len(self.classes))), np.empty((0, len(self.units))))
        inputs = torch.from_numpy(self._view.collate(windows)["inputs"])
        ends = np.cumsum([len(clip.windows) for clip in clips])[:-1]
        found = zip(*(self._of_windows(part) for part in inputs.split(BATCH_SIZE)), strict=True)
        probabilities, units = (
            np.stack([part.mean(axis=0) for part in np.split(torch.cat(parts).numpy(), ends)]) for parts in found
        )
        if not (np.isfinite(probabilities).all() and np.isfinite(units).all()):
            raise MefusionError(f"the network of {self.bundle.folder} gives no finite numbers: export it again")
        return Answers(with_temperature(probabilities, self.bundle.temperature), units)

    def try_out(self) -> None:
        """Predict random pictures of the shape that the network is to see.

        Raises:
            MefusionError: the network cannot predict them.
        """
        try:
            window = self.inputs.example()
            channels = self._view.collate([window])["inputs"].shape[-3]
            if {len(self.bundle.mean), len(self.bundle.std)} != {channels}:
                raise ValueError(f"{len(self.bundle.mean)} means for {channels} channels")
            found = self.answers([PreparedClip([window], {})])
            if found.probabilities.shape != (1, len(self.classes)):
                shape = list(found.probabilities.shape)
                raise ValueError(f"probabilities of the shape {shape}, for {len(self.classes)} classes")
            if found.units.shape != (1, len(self.units)):
                raise ValueError(f"{found.units.shape[1]} outputs for {len(self.units)} action units")
        except Exception as error:  # a network of an author can raise anything
            raise unusable(
                self.bundle.folder / DESCRIPTION, f"does not fit its network, which fails ({first_line(error)})"
            ) from error

    @torch.inference_mode()
    def _of_windows(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities of the classes [n, classes] and of the action units [n, units] of a batch of windows."""
        normal = normalised(inputs.to(self.device), scale=self._view.scale, mean=self._mean, std=self._std)
        output = self._network(normal)
        units = output.action_units if self.units else output.logits[:, :0]
        return output.logits.float().softmax(1).cpu().double(), units.float().sigmoid().cpu().double()
