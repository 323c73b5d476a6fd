"""Writes model.onnx: input_ids and attention_mask [n, length] → sentence_embedding [n, 64], of length one.

A token is a byte of UTF-8 plus 1; 0 pads. Each pair of neighbouring letters picks a fixed random direction, and a text is their
sum, so that texts with words in common point the same way.
"""
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH, PAIRS = 64, 4096
folder = Path(sys.argv[1])
random = np.random.default_rng(64)
table = random.standard_normal((PAIRS, WIDTH)).astype(np.float32)
# Upper and lower case are one letter; what pads or parts words is none.
letters = np.zeros(257, np.int64)
for byte in range(256):
    character = chr(byte).lower() if byte < 128 else chr(byte)
    letters[byte + 1] = ord(character) if character.isalnum() or byte >= 128 else 32


def constant(name, values, kind):
    return numpy_helper.from_array(np.array(values, kind), name)


node = helper.make_node
nodes = [
    node("Gather", ["letters", "input_ids"], ["codes"]),
    node("Slice", ["codes", "zero", "minus_one", "axis"], ["left"]),
    node("Slice", ["codes", "one", "end", "axis"], ["right"]),
    node("Mul", ["left", "thirty_one"], ["scaled"]),
    node("Add", ["scaled", "right"], ["mixed"]),
    node("Mod", ["mixed", "pairs"], ["pair"]),
    node("Gather", ["table", "pair"], ["directions"]),
    node("Slice", ["attention_mask", "one", "end", "axis"], ["inside"]),
    node("Cast", ["inside"], ["weights"], to=TensorProto.FLOAT),
    node("Unsqueeze", ["weights", "last"], ["columns"]),
    node("Mul", ["directions", "columns"], ["counted"]),
    node("ReduceSum", ["counted", "axis"], ["sum"], keepdims=0),
    node("ReduceL2", ["sum"], ["length"], axes=[1], keepdims=1),
    node("Max", ["length", "least"], ["divisor"]),
    node("Div", ["sum", "divisor"], ["sentence_embedding"]),
]
constants = [
    constant("letters", letters, np.int64), numpy_helper.from_array(table, "table"), constant("zero", [0], np.int64),
    constant("one", [1], np.int64), constant("minus_one", [-1], np.int64), constant("end", [2**31], np.int64),
    constant("axis", [1], np.int64), constant("last", [2], np.int64), constant("thirty_one", [131], np.int64),
    constant("pairs", [PAIRS], np.int64), constant("least", [1e-9], np.float32),
]
graph = helper.make_graph(
    nodes, "embed-text",
    [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "length"]) for name in ("input_ids", "attention_mask")],
    [helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, ["n", WIDTH])], constants,
)
model = helper.make_model(graph, producer_name="longshore", opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
model.metadata_props.append(onnx.StringStringEntryProto(key="tokenizer", value="bytes"))
onnx.checker.check_model(model)
onnx.save(model, str(folder / "model.onnx"))
