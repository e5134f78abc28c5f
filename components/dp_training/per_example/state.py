"""What a call of a model changes besides its output, read from its graph, forward and backward.

A private step releases the trainable variables, which noise protects. Anything else that a call leaves behind, such as
a running mean of the batch, would be released without noise. So each assignment is looked at: what is assigned must
not come from the inputs, not even from how many there are. A step counter and a random generator's state do not. They
are still put back, the one after every batch, the other after training: how often a call is made depends on the
examples drawn.
"""

import contextlib
from collections.abc import Iterator, Sequence

import tensorflow as tf
from tensorflow.python.framework import op_def_registry

from components.dp_training.per_example.errors import PrecisionError, StateChangesError

_READS = frozenset(
    [
        *("VarHandleOp", "ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VariableShape", "VarIsInitializedOp"),
        *("LookupTableFind", "LookupTableFindV2", "HashTable", "HashTableV2", "LookupTableSizeV2"),
        *("PartitionedCall", "StatefulPartitionedCall", "If", "StatelessIf", "While", "StatelessWhile", "Case"),
        *("Assert", "Placeholder", "CudnnRNN", "CudnnRNNV2", "CudnnRNNV3", "CudnnRNNBackprop"),
        *("CudnnRNNBackpropV2", "CudnnRNNBackpropV3", "CudnnRNNParamsSize", "NoOp"),
    ]
)
_DRAWS = frozenset(
    [
        *("RandomUniform", "RandomUniformInt", "RandomStandardNormal", "TruncatedNormal", "RandomShuffle"),
        *("RandomGamma", "RandomPoisson", "RandomPoissonV2", "Multinomial", "ParameterizedTruncatedNormal"),
        *("NonDeterministicInts",),
    ]
)
_GENERATORS = frozenset(
    [
        *("RngReadAndSkip", "RngSkip", "StatefulRandomBinomial", "StatefulStandardNormal", "StatefulStandardNormalV2"),
        *("StatefulTruncatedNormal", "StatefulUniform", "StatefulUniformInt", "StatefulUniformFullInt"),
    ]
)
_PYTHON = frozenset(["PyFunc", "PyFuncStateless", "EagerPyFunc"])
_HALF = (tf.float16.as_datatype_enum, tf.bfloat16.as_datatype_enum)


def changed_variables(graph: tf.Graph, inputs: tf.Tensor, model_name: str) -> tuple[list, list]:
    """The variables that the graph's operations may change, none of them by what comes from `inputs`.

    Returns:
        Those that are assigned to, and those that hold a random generator's state.

    Raises:
        StateChangesError: an operation assigns what comes from the inputs, or may keep state in a way not known here.
        PrecisionError: an operation computes in a half precision.
    """
    library = {function.signature.name: function.node_def for function in graph.as_graph_def().library.function}
    tainted, assigned, generators = {inputs.ref()}, {}, {}
    for operation in graph.get_operations():
        nodes = [operation.node_def, *_inside(operation.node_def, library)]
        _refuse_half(nodes, model_name)
        touched = any(tensor.ref() in tainted for tensor in operation.inputs)
        if touched:
            tainted.update(tensor.ref() for tensor in operation.outputs)
        for kind in {node.op for node in nodes} - library.keys():
            if not _changes_state(kind):
                continue
            if kind in _PYTHON or not _is_assignment(kind) or (touched and kind not in _GENERATORS):
                raise _refused(kind, operation, model_name)
            changed = generators if kind in _GENERATORS else assigned
            changed.update({variable.ref(): variable for variable in _behind(operation, graph)})
    return list(assigned.values()), list(generators.values())


def draws(graph: tf.Graph) -> bool:
    """Whether the graph draws random numbers."""
    definition = graph.as_graph_def()
    functions = [node for function in definition.library.function for node in function.node_def]
    kinds = {node.op for node in [*definition.node, *functions]}
    return bool(kinds & (_DRAWS | _GENERATORS)) or any(kind.startswith("StatelessRandom") for kind in kinds)


@contextlib.contextmanager
def kept(variables: Sequence[tf.Variable]) -> Iterator[None]:
    """Puts variables back to what they were."""
    before = [variable.read_value() for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)


def _changes_state(kind: str) -> bool:
    definition = op_def_registry.get(kind)
    stateful = definition is None or definition.is_stateful or kind in _PYTHON
    return stateful and kind not in _READS and kind not in _DRAWS


def _is_assignment(kind: str) -> bool:
    return kind in _GENERATORS or kind.startswith(("Assign", "ResourceScatter", "ResourceStridedSliceAssign"))


def _inside(node, library: dict) -> list:
    """The nodes of all functions that a node calls, however deep."""
    names, nodes, seen = [node.op, *_called(node)], [], set()
    while names:
        name = names.pop()
        if name in library and name not in seen:
            seen.add(name)
            nodes += library[name]
            names += [called for inner in library[name] for called in (inner.op, *_called(inner))]
    return nodes


def _called(node) -> list[str]:
    values = node.attr.values()
    return [v.func.name for v in values if v.HasField("func")] + [f.name for v in values for f in v.list.func]


def _behind(operation: tf.Operation, graph: tf.Graph) -> list[tf.Variable]:
    """The variables whose handles an operation is given."""
    handles = {inner.ref(): outer for outer, inner in graph.captures}
    given = [handles[t.ref()] for t in operation.inputs if t.dtype == tf.resource and t.ref() in handles]
    return [v for v in graph.variables if any(v.handle is handle for handle in given)]


def _refuse_half(nodes: Sequence, model_name: str) -> None:
    half = next((n.op for n in nodes for attr in n.attr.values() if attr.type in _HALF), None)
    if half is not None:
        raise PrecisionError(f"model {model_name} must compute in float32. Received: {half} in half precision")


def _refused(kind: str, operation: tf.Operation, model_name: str) -> StateChangesError:
    names = ", ".join(variable.name for variable in _behind(operation, operation.graph)) or operation.name
    if kind in _PYTHON:
        return StateChangesError(
            f"model {model_name} must not call Python from its graph, which may keep what it sees. Received: {names}"
        )
    return StateChangesError(
        f"model {model_name} must not change state while it trains privately: no noise protects it. "
        f"Received: {kind} on {names}"
    )
