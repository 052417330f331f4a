"""Searches on two logical CPU devices, in a process of their own; prints what each replica came to, as JSON."""

from __future__ import annotations

import json

import numpy as np

from mpq_plugins import Budget
from mpq_tfmot.keras import tf

METHODS = {"hmq": (2, 4, 8), "msqe": 4}


def train(strategy, method, bits):
    """A few steps of a search under the strategy; msqe eagerly, since a trace takes longer."""
    from mpq_tfmot import SearchCallback, harden, litert, simulate, verify
    from mpq_tfmot.tests.training import compiled, data, fit, quantized

    with strategy.scope():
        model = compiled(quantized(method, bits), run_eagerly=method == "msqe")
    callback = SearchCallback(Budget(average_weight_bits=4) if method == "hmq" else None, observe=2)
    fit(model, 3, callback)
    copies = [copies_of(model, replica) for replica in range(strategy.num_replicas_in_sync)]
    recipe = harden(model)
    images, _ = data(2)
    exact = verify(litert.export(model, recipe), simulate(model, recipe), images).exact
    return {"copies": copies, "exact": exact, "steps": [record.step for record in callback.history.records]}


def copies_of(model, replica):
    """One replica's copy of every variable of every quantizer."""
    from mpq_tfmot.training.hosted import hosted_model

    return {
        f"{one.site} {key}": np.ravel(variable.values[replica].numpy()).tolist()
        for one in hosted_model(model).hosted
        for key, variable in one.variables.items()
    }


def main():
    """Print the results by method."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    print(json.dumps({method: train(strategy, method, bits) for method, bits in METHODS.items()}))


if __name__ == "__main__":
    main()
