"""Data sets in the training process.

base     loading a data set by its row in the database, with checks.
digits, vision, files
         the built-in loaders.
split    the one split into training and validation part (torch-free).
device   the parts as tensors on the device, in batches.
augment  random crops, flips and cutouts of a batch.
"""
