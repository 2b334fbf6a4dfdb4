"""Genomes of residual convolutional networks: their code, what it decodes to, and how they are bred.

Everything here is pure and free of torch: values in, values out, and randomness is a generator that
the caller passes. ``space.ConvSpace`` is the plug-in that the rest of evolver uses.

code       genes and genomes, and their JSON.
bounds     the settings of the space: limits of genomes, rates of operators, presets.
fields     the numeric fields of genes: ranges, drawing, rounding.
repair     validation against the bounds, and the way back into them.
sampling   random genomes.
known      genomes like networks of the literature.
operators  crossover and mutation.
plan       the decoded network as values; the torch decoder builds from it.
cost       parameters, FLOPs, activations and memory of a plan.
canonical  the hash of a plan.
describe   the drawing of a plan.
transfer   a plan for data of another shape: stem and output are adapted.
space      all of it behind the interface ``evolver.space.Space``.
"""
