"""The training plane: what runs on the machines that train.

It imports from ``evolver``, never the other way round. Supervisor and claim loop do without torch;
only the training process loads it.
"""
