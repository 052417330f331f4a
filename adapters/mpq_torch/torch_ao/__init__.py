"""torch.ao: observers, fake-quantizers, qconfigs, conversion to int8 kernels, and the proof that they agree."""

from __future__ import annotations

from mpq_plugins.registry import moved_modules

__getattr__ = moved_modules.names_of(__name__)
