"""The client; it imports no TensorFlow."""
