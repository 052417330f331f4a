"""The conformance kit: what every target, training or search method, and adapter of a framework must hold to.

``pytest --pyargs mpq_plugins.testing --mpq-target NAME``, ``--mpq-method NAME`` and ``--mpq-framework NAME``, each
as often as wanted, run it on what is registered under these names; without any, on all that is registered.
The checks are plain functions, in the modules whose names end in ``_checks``, and raise Nonconforming.
"""
