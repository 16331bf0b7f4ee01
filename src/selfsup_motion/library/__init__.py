"""What a program that imports the package uses: `import selfsup_motion as ssm`."""

from selfsup_motion.lazy import lazy

__getattr__, __dir__ = lazy(__name__, {}, ["datasets"])
