//! Builds decoder ONNX graphs: one builder for exports, test fixtures and inflated benchmark targets.
