"""Networks for tests, in files."""

import numpy as np
import pytest


def write_network(path, *, names=("audio", "visual")):
    """A network that says how bright the faces are above 100."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    make = onnx.helper
    inputs = [
        make.make_tensor_value_info(names[0], 1, [1, "a", 13]),
        make.make_tensor_value_info(names[1], 1, [1, "t", 112, 112]),
    ]
    nodes = [
        make.make_node("ReduceMean", [names[1], "axes"], ["mean"], keepdims=0),
        make.make_node("Sub", ["mean", "hundred"], ["score"]),
        make.make_node("Identity", [names[0]], ["used"]),
    ]
    given = [
        onnx.numpy_helper.from_array(np.array([0, 2, 3]), "axes"),
        onnx.numpy_helper.from_array(np.array(100, np.float32), "hundred"),
    ]
    outputs = [make.make_tensor_value_info("score", 1, ["t"]), make.make_tensor_value_info("used", 1, [1, "a", 13])]
    model = make.make_model(
        make.make_graph(nodes, "g", inputs, outputs, given), opset_imports=[make.make_opsetid("", 18)], ir_version=10
    )
    path.write_bytes(model.SerializeToString())
    return path
