"""How long work reports its progress."""

from collections.abc import Callable

OnProgress = Callable[[int, int, str], None]
"""Called with (units done, units in all, what is being done); `terminal.bar.Bar.show` is one."""
