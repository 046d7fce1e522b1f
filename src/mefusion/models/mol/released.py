"""Names and shapes of the tensors in the checkpoints that MOL's authors published, and ours."""

from mefusion.models.released import Checkpoint

# The authors number each half's first convolution and embedding 1, and the second ones 2.
_FCC = {
    "meta_kernel_1_H": "halves.0.conv_1.weight",
    "meta_1_H_bias": "halves.0.conv_1.bias",
    "meta_pe_1_H": "halves.0.position_1",
    "meta_kernel_2_W": "halves.0.conv_2.weight",
    "meta_2_W_bias": "halves.0.conv_2.bias",
    "meta_pe_2_W": "halves.0.position_2",
    "pre_Norm_1": "halves.0.norm",
    "meta_kernel_1_W": "halves.1.conv_1.weight",
    "meta_1_W_bias": "halves.1.conv_1.bias",
    "meta_pe_1_W": "halves.1.position_1",
    "meta_kernel_2_H": "halves.1.conv_2.weight",
    "meta_2_H_bias": "halves.1.conv_2.bias",
    "meta_pe_2_H": "halves.1.position_2",
    "pre_Norm_2": "halves.1.norm",
    "ffn": "ffn",
}
_CCC = {"conv1": "node", "conv2": "edge"}
_ENCODER = "conv1 conv2 conv3 conv_redir conv3_1 conv4 conv4_1 conv5 conv5_1 conv6 conv6_1 predict_flow6"
_FLOW = {name: name for name in _ENCODER.split()}
for _i, _level in enumerate(range(5, -1, -1)):
    _FLOW[f"deconv{_level}"] = f"decoder.{_i}.deconv"
    _FLOW[f"predict_flow{_level}"] = f"decoder.{_i}.predict"
    _FLOW[f"upsampled_flow{_level + 1}_to_{_level}"] = f"decoder.{_i}.upsample"

CHECKPOINT = Checkpoint(
    network="MOL",
    classifier="mer_3dcnn.fc2.weight",
    names={
        "conv_stack.conv_stack": "stem",
        **{f"FCC_{i + 1}.{theirs}": f"f5c.{i}.fcc.{ours}" for i in (0, 1) for theirs, ours in _FCC.items()},
        **{f"CCC_{i + 1}.{theirs}": f"f5c.{i}.ccc.{ours}" for i in (0, 1) for theirs, ours in _CCC.items()},
        **{f"flownet.{theirs}": f"flow_net.{ours}" for theirs, ours in _FLOW.items()},
        "mer_3dcnn.conv3d": "recognition.conv",
        "mer_3dcnn.fc1": "recognition.fc1",
        "mer_3dcnn.fc2": "recognition.fc2",
        "ldm_predictor.convldm": "landmarks.conv",
        "ldm_predictor.fc1": "landmarks.fc1",
        "ldm_predictor.fc2": "landmarks.fc2",
    },
    # In the authors' code, CCC's linear maps are convolutions over a single channel.
    axes={f"f5c.{i}.ccc.{layer}.weight": ("o i", "o 1 i") for i in (0, 1) for layer in _CCC.values()},
)
