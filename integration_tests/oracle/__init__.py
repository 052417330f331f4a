"""What the project computes today, kept as data: so that a change of its insides can be shown to change nothing.

For small networks of both frameworks, which together have every op, spelling and option that is handled, and for
recipes that are drawn by a seed (no search): the inventory, the codes of every site of the simulation, the outputs of
converted models, the exported files and the integer programs, as hashes in ``torch.json`` and ``keras.json``.
``constrained.json`` holds the weights and biases that ``constrain`` makes with calibration data: they depend on the
order in which a processor adds floats, so they are compared on the kind of machine that recorded them only. Everything
else is exact arithmetic on grid values, and the weights stay within what kernels of every x86 processor add exactly.

Only what users may call is called. To record anew, and see what changed:

    python -m integration_tests.oracle.record [--only NAME ...]
"""
