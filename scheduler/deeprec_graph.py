"""ONNX graphs of the models of DeepRecInfra, behind their embedding lookups.

Inputs: dense float32[n, dense] (if the model has any) and, per table group, the pooled vectors
float32[n, vectors, dim]. Output: logits float32[n, outputs]. The tables stay outside.
Needs the extra `serve`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from rpaccel.golden.deeprec import DeeprecWeights, GruWeights, Layer
from rpaccel.spec.deeprec import DeeprecConfig

OPSET = 21
IR_VERSION = 10
ITEMS = "n"


class _Graph:
    """Nodes and constants in the order in which they were asked for."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, values: npt.ArrayLike) -> str:
        array = np.asarray(values)
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, kind: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> str:
        """Add a node and return its last output; the ones before it are left unused."""
        names = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[-1]

    def split(self, x: str, parts: int, axis: int) -> list[str]:
        """Add a node that cuts `x` into equal parts."""
        names = [f"v{len(self.nodes)}_{i}" for i in range(parts)]
        self.nodes.append(helper.make_node("Split", [x], names, axis=axis, num_outputs=parts))
        return names

    def mlp(self, layers: Sequence[Layer], x: str, *, relu_last: bool) -> str:
        for i, (weights, bias) in enumerate(layers):
            x = self.node("Add", [self.node("MatMul", [x, self.constant(weights)]),
                                  self.constant(bias)])  # fmt: skip
            if relu_last or i + 1 < len(layers):
                x = self.node("Relu", [x])
        return x


def _interest(graph: _Graph, layers: Sequence[Layer], behaviours: str, candidate: str) -> str:
    """DIN: see golden.deeprec.interest. candidate : [n, 1, dim]. Returns [n, dim].

    The first layer reads behaviour, candidate and product apart: nothing is copied to join them.
    """
    (first, bias), *later = layers
    product = graph.node("Mul", [behaviours, candidate])
    parts = zip((behaviours, candidate, product), np.split(first, 3), strict=True)
    own, other, both = (graph.node("MatMul", [x, graph.constant(w)]) for x, w in parts)
    shared = graph.node("Add", [other, graph.constant(bias)])
    weights = graph.node("Add", [graph.node("Add", [own, both]), shared])
    if later:
        weights = graph.mlp(later, graph.node("Relu", [weights]), relu_last=False)
    weighted = graph.node("Mul", [weights, behaviours])
    return graph.node("ReduceSum", [weighted, graph.constant([1])], keepdims=0)


def _gru(graph: _Graph, weights: GruWeights, x: str) -> str:
    """Library GRU. x : [steps, n, in]. Returns its states [steps, n, state]."""
    states = graph.node(
        "GRU",
        [
            x,
            graph.constant(weights.inputs.T[None]),
            graph.constant(weights.states.T[None]),
            graph.constant(np.concatenate([weights.input_bias, weights.state_bias])[None]),
        ],
        hidden_size=len(weights.states),
        linear_before_reset=1,
    )
    return graph.node("Squeeze", [states, graph.constant([1])])


def _attentional_step(weights: GruWeights) -> Any:
    """One step of a GRU whose update gate is scaled: (state, inputs, attention) -> state."""
    step = _Graph()
    # Names of a body are its own only if they differ from the graph's around it.
    names = ["state", "step_inputs", "step_attention"]
    fed_back = step.node(
        "Add",
        [
            step.node("MatMul", ["state", step.constant(weights.states)]),
            step.constant(weights.state_bias),
        ],
    )
    z, r, h = step.split("step_inputs", 3, axis=1)
    zs, rs, hs = step.split(fed_back, 3, axis=1)
    # 1 - sigmoid(a) is sigmoid(-a)
    update = step.node("Sigmoid", [step.node("Neg", [step.node("Add", [z, zs])])])
    update = step.node("Mul", [update, "step_attention"])
    reset = step.node("Sigmoid", [step.node("Add", [r, rs])])
    candidate = step.node("Tanh", [step.node("Add", [h, step.node("Mul", [reset, hs])])])
    moved = step.node("Mul", [update, step.node("Sub", [candidate, "state"])])
    result = step.node("Add", ["state", moved])
    for node in step.nodes:
        for names_of in (node.input, node.output):
            for i, name in enumerate(names_of):
                names_of[i] = name if name in names else f"step_{name}"
    for constant in step.constants:
        constant.name = f"step_{constant.name}"
    state = len(weights.states)
    return helper.make_graph(
        step.nodes,
        "attentional_step",
        [
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [ITEMS, state]),
            helper.make_tensor_value_info("step_inputs", TensorProto.FLOAT, [ITEMS, 3 * state]),
            helper.make_tensor_value_info("step_attention", TensorProto.FLOAT, [ITEMS, 1]),
        ],
        [helper.make_tensor_value_info(f"step_{result}", TensorProto.FLOAT, [ITEMS, state])],
        step.constants,
    )


def _evolution(graph: _Graph, weights: DeeprecWeights, behaviours: str, candidate: str) -> str:
    """DIEN: see golden.deeprec.evolution. candidate : [n, 1, dim]. Returns [n, state]."""
    states = _gru(
        graph, weights.grus["extract"], graph.node("Transpose", [behaviours], perm=[1, 0, 2])
    )
    asked = graph.node("Transpose", [candidate], perm=[1, 0, 2])
    formed = graph.node("MatMul", [states, graph.constant(weights.bilinear)])
    scores = graph.node(
        "ReduceSum", [graph.node("Mul", [formed, asked]), graph.constant([2])], keepdims=1
    )
    attention = graph.node("Softmax", [scores], axis=0)
    evolve = weights.grus["evolve"]
    inputs = graph.node(
        "Add",
        [
            graph.node("MatMul", [states, graph.constant(evolve.inputs)]),
            graph.constant(evolve.input_bias),
        ],
    )
    items = graph.node("Slice", [graph.node("Shape", [candidate]), graph.constant([0]),
                                 graph.constant([1])])  # fmt: skip
    shape = graph.node("Concat", [items, graph.constant([len(evolve.states)])], axis=0)
    start = graph.node("ConstantOfShape", [shape])
    return graph.node(
        "Scan",
        [start, inputs, attention],
        body=_attentional_step(evolve),
        num_scan_inputs=2,
    )


def build_graph(config: DeeprecConfig, weights: DeeprecWeights) -> bytes:
    """Return the model as a serialised ONNX file; the same arguments give the same bytes."""
    graph = _Graph()
    flat = {
        g.name: graph.node("Flatten", [g.name], axis=1)
        for g in config.groups
        if not (config.kind == "neumf" and g.name == "mf")
    }
    if config.kind == "concat":
        dense = [graph.mlp(weights.mlps.get("bottom", ()), "dense", relu_last=True)]
        joined = (dense if config.dense else []) + list(flat.values())
    elif config.kind == "neumf":
        joined = [flat["mlp"]]
    elif config.kind == "interest":
        joint = _interest(graph, weights.mlps["attention"], "behaviour", "candidate")
        joined = [flat["profile"], joint, flat["candidate"], flat["context"]]
    else:
        joint = _evolution(graph, weights, "behaviour", "candidate")
        joined = [flat["profile"], joint, flat["candidate"], flat["context"]]
    top = graph.mlp(
        weights.mlps["top"],
        graph.node("Concat", joined, axis=1),
        relu_last=bool(config.head),
    )
    if config.head:
        if config.kind == "neumf":
            user, item = graph.split("mf", 2, axis=1)
            product = graph.node("Flatten", [graph.node("Mul", [user, item])], axis=1)
            top = graph.node("Concat", [product, top], axis=1)
        heads = [weights.mlps[f"head{task}"] for task in range(config.tasks)]
        top = graph.node(
            "Concat", [graph.mlp(head, top, relu_last=False) for head in heads], axis=1
        )
    graph.nodes.append(helper.make_node("Identity", [top], ["logits"]))
    inputs = [
        helper.make_tensor_value_info(g.name, TensorProto.FLOAT, [ITEMS, g.vectors, config.dim])
        for g in config.groups
    ]
    if config.dense:
        inputs.append(
            helper.make_tensor_value_info("dense", TensorProto.FLOAT, [ITEMS, config.dense])
        )
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [ITEMS, config.outputs])
    body = helper.make_graph(graph.nodes, config.name, inputs, [output], graph.constants)
    model = helper.make_model(
        body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    return bytes(model.SerializeToString(deterministic=True))
