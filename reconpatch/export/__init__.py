"""A model as one ONNX graph."""
