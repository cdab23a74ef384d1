"""The TensorFlow Serving gRPC API."""
