"""A genome's network in files that need no evolver.

subject    what is exported, from the database: genome, lineage, plan, and where its weights are.
source     the network as one readable Python file.
model      the network with its weights and the normalisation of its data.
formats    the files: ONNX, torch.export, safetensors, Python; each is read back and compared.
facts      what the files say of themselves, for programs.
card       the same for people.
exporting  all of it together: whole files, or none.

``subject``, ``source``, ``facts`` and ``card`` load no torch.
"""
