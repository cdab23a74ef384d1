"""From tensors to codes; knows no files, and no backend but `keras.ops`."""
