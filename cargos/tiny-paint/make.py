"""Writes model.onnx: one step of a painter that starts from noise, and metadata that says how an image engine drives it.

latents [n, 3, height/8, width/8], prompt_ids [n, length] (bytes of UTF-8 plus 1), step [1] (1 → 0) and guidance [1] → next_latents
of the same shape and image [n, 3, height, width] between 0 and 1. Noise is mixed with its blurred self and with the prompt's
three colours, a little more each step; the picture is what the latents are at that step, eight times larger.
"""
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

folder = Path(sys.argv[1])
random = np.random.default_rng(3)
colours = random.standard_normal((257, 3)).astype(np.float32)
colours[0] = 0
blur = np.zeros((3, 3, 3, 3), np.float32)
kernel = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) / 16
for channel in range(3):
    blur[channel, channel] = kernel


def constant(name, values, kind=np.float32):
    return numpy_helper.from_array(np.array(values, kind), name)


node = helper.make_node
nodes = [
    node("Gather", ["colours", "prompt_ids"], ["each"]),
    node("ReduceMean", ["each"], ["mean"], axes=[1], keepdims=0),
    node("Mul", ["mean", "guidance"], ["strong"]),
    node("Tanh", ["strong"], ["wanted_flat"]),
    node("Unsqueeze", ["wanted_flat", "space"], ["wanted"]),
    node("Pad", ["latents", "border"], ["padded"], mode="edge"),
    node("Conv", ["padded", "blur"], ["smooth"], kernel_shape=[3, 3]),
    node("Mul", ["smooth", "most"], ["kept"]),
    node("Mul", ["wanted", "little"], ["added"]),
    node("Add", ["kept", "added"], ["mixed"]),
    node("Mul", ["latents", "step"], ["rough"]),
    node("Sub", ["unit", "step"], ["done"]),
    node("Mul", ["mixed", "done"], ["clean"]),
    node("Add", ["rough", "clean"], ["next_latents"]),
    node("Resize", ["next_latents", "", "scales"], ["large"], mode="linear", coordinate_transformation_mode="half_pixel"),
    node("Mul", ["large", "contrast"], ["bright"]),
    node("Sigmoid", ["bright"], ["image"]),
]
constants = [
    constant("colours", colours), constant("blur", blur), constant("space", [2, 3], np.int64),
    constant("border", [0, 0, 1, 1, 0, 0, 1, 1], np.int64), constant("most", [0.9]), constant("little", [0.35]),
    constant("unit", [1.0]), constant("scales", [1, 1, 8, 8]), constant("contrast", [2.0]),
]
graph = helper.make_graph(
    nodes, "tiny-paint",
    [
        helper.make_tensor_value_info("latents", TensorProto.FLOAT, ["n", 3, "rows", "columns"]),
        helper.make_tensor_value_info("prompt_ids", TensorProto.INT64, ["n", "length"]),
        helper.make_tensor_value_info("step", TensorProto.FLOAT, [1]),
        helper.make_tensor_value_info("guidance", TensorProto.FLOAT, [1]),
    ],
    [
        helper.make_tensor_value_info("next_latents", TensorProto.FLOAT, ["n", 3, "rows", "columns"]),
        helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "height", "width"]),
    ],
    constants,
)
model = helper.make_model(graph, producer_name="longshore", opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
for key, value in {"tokenizer": "bytes", "task": "text-to-image", "latent-channels": "3", "latent-scale": "8"}.items():
    model.metadata_props.append(onnx.StringStringEntryProto(key=key, value=value))
onnx.checker.check_model(model)
onnx.save(model, str(folder / "model.onnx"))
