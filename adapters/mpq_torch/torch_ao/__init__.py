"""torch.ao: observers, fake-quantizers, qconfigs, conversion to int8 kernels, and the proof that they agree."""

from __future__ import annotations

from mpq_plugins.versions import modules

__getattr__ = modules.names_of(__name__)
