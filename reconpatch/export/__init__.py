"""Export of a model as one ONNX graph."""
