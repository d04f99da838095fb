"""The network as an ONNX file, built node by node, and what trackers want to know of one."""
