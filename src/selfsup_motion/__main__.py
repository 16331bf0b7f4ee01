"""`python -m selfsup_motion` lists the commands; `python -m selfsup_motion train …` runs one."""

import os
import sys
from collections.abc import Sequence

from selfsup_motion import __version__
from selfsup_motion.settings.groups import commands
from selfsup_motion.settings.nearest import nearest_name


def main(arguments: Sequence[str]) -> int:
    """List the commands, or become the one that is named first; returns the exit status."""
    known = commands()
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        width = max(map(len, known))
        print("Self-supervised learning from motion in video\n")
        for name, what in known.items():
            print(f"  python -m selfsup_motion.{name:<{width}}  {what}")
        print("\nAdd --help to a command for more. To begin: python -m selfsup_motion.train")
        return 0
    name, *rest = arguments
    if name == "--version":
        print(f"selfsup_motion {__version__}")
        return 0
    verb = name.replace("-", "_")
    if verb not in known:
        guess = nearest_name(verb, known)
        hint = f"did you mean {guess}? There are" if guess else "there are"
        print(f"{name}: there is no such command, {hint} {', '.join(known)}.", file=sys.stderr)
        return 2
    # as if it had been started itself: what it starts in turn asks how it was started
    os.execv(sys.executable, [sys.executable, "-m", f"selfsup_motion.{verb}", *rest])
    raise AssertionError("not reached")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
