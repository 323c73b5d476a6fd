"""Writes model.onnx, a classifier whose weights are ten drawn digits, and expected.json with inputs and what they give.

pixels [n, 64] → Gemm with the normalised shapes → logits [n, 10] → Softmax → probabilities [n, 10] and ArgMax → label [n].
"""
import json
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

GLYPHS = [
    "0e11131519110e", "040c040404040e", "0e11010204081f", "1f02040201110e", "02060a121f0202",
    "1f101e0101110e", "0608101e11110e", "1f010204080808", "0e11110e11110e", "0e11110f01020c",
]


def shape(rows):
    """Five by seven dots in the middle of eight by eight pixels."""
    pixels = np.zeros((8, 8), np.float32)
    for y, row in enumerate(bytes.fromhex(rows)):
        for x in range(5):
            pixels[y, x + 1] = row >> (4 - x) & 1
    return pixels.reshape(64)


folder = Path(sys.argv[1])
shapes = np.stack([shape(rows) for rows in GLYPHS])
weights = (shapes - shapes.mean(axis=1, keepdims=True)) / np.linalg.norm(shapes, axis=1, keepdims=True)
weights = weights.astype(np.float32)
bias = np.zeros(10, np.float32)
graph = helper.make_graph(
    [
        helper.make_node("Gemm", ["pixels", "weights", "bias"], ["logits"], transB=1, alpha=4.0),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["logits"], ["label"], axis=1, keepdims=0),
    ],
    "digits",
    [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 64])],
    [
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 10]),
        helper.make_tensor_value_info("label", TensorProto.INT64, ["n"]),
    ],
    [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
)
model = helper.make_model(graph, producer_name="longshore", opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model)
onnx.save(model, str(folder / "model.onnx"))

noise = np.random.default_rng(7).random((10, 64)).astype(np.float32) * 0.25
inputs = np.round(shapes + noise, 3).astype(np.float32)
logits = 4 * inputs @ weights.T
powers = np.exp(logits - logits.max(axis=1, keepdims=True))
probabilities = powers / powers.sum(axis=1, keepdims=True)
known = {"pixels": inputs.tolist(), "probabilities": probabilities.tolist(), "label": list(range(10))}
assert probabilities.argmax(axis=1).tolist() == known["label"]
(folder / "expected.json").write_text(json.dumps(known))
