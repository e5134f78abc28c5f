"""A `.tflite` without what no interpreter needs: names of inner tensors and the converter's notes."""

from components.shipped.schema import schema


def strip(model: schema.ModelT) -> None:
    """Removes, in place, the names of tensors that are no inputs or outputs, and the metadata; signatures stay, and so
    do all weights, operators and the indices of tensors."""
    for graph in model.subgraphs:
        kept = {*graph.inputs, *graph.outputs}
        for index, tensor in enumerate(graph.tensors):
            tensor.name = tensor.name if index in kept else None
    for note in model.metadata or []:
        model.buffers[note.buffer].data = None
    model.metadata = model.metadataBuffer = model.description = None
