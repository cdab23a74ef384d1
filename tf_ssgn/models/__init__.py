"""From tensors to codes; knows no files, and no backend but `keras.ops`."""

# First of all: Keras makes our layers known (`tf_ssgn`), which fails while a file of theirs is half imported.
import keras as keras
