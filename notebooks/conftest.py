"""``make notebooks``: the kernels that nbval starts are reached by files (``tests/kernels.py`` says why)."""

import nbval.kernel

from tests.kernels import Manager

nbval.kernel.KernelManager = Manager
