"""Names and shapes of the tensors in the checkpoints that FDP's authors published, and ours."""

from mefusion.models.fdp.heads import LAYERS
from mefusion.models.released import Checkpoint

BLOCKS = 20

_BLOCK = {"patch_embed": "patch_embed", "mhca.group_conv3x3": "conv.0", "norm": "norm", "mlp": "mlp"}
_SEGNET = {}
for _stage, _layers in enumerate(LAYERS):
    for _layer in range(_layers):
        # The authors number the decoder backwards: its first stage is 5, and the first layer of that stage is 3.
        _number, _up = f"{_stage + 1}{_layer + 1}", f"{len(LAYERS) - _stage - 1}.{_layers - _layer - 1}"
        _SEGNET[f"conv{_number}"] = f"encoder.{_stage}.{_layer}.conv"
        _SEGNET[f"bn{_number}"] = f"encoder.{_stage}.{_layer}.norm"
        _SEGNET[f"conv{_number}d"] = f"decoder.{_up}.conv"
        _SEGNET[f"bn{_number}d"] = f"decoder.{_up}.norm"
del _SEGNET["bn11d"]
_SEGNET["conv11d"] = "decoder.4.1"

CHECKPOINT = Checkpoint(
    network="FDP",
    classifier="mer.fc2.weight",
    names={
        "frame_rep.stem": "encoder.stem",
        **{
            f"frame_rep.features.{i}.{theirs}": f"encoder.blocks.{i}.{ours}"
            for i in range(BLOCKS)
            for theirs, ours in _BLOCK.items()
        },
        "frame_rep.norm": "encoder.norm",
        "frame_rep.proj_head.0": "encoder.project",
        "mer.conv3d": "pooling.conv",
        "mer.fc1": "recognition.fc1",
        "mer.fc2": "recognition.fc2",
        **{f"dyimg_net.{theirs}": f"dynamic_image.{ours}" for theirs, ours in _SEGNET.items()},
    },
    # The authors use a 3D convolution. Its kernel is as deep as its input, so that it moves along two axes only.
    axes={"pooling.conv.weight": ("o t h w", "o 1 h w t")},
)
