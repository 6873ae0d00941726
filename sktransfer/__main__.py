"""The main jobs from a shell: ``sktransfer``, or ``python -m sktransfer``."""

import sys


def main(arguments=None):
    """Run the command line; return its exit code."""
    try:
        from sktransfer._cli.arguments import run

        return run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        # With -m, Python ends by the signal, handled or not, where the interrupt met code of
        # exec(), as the methods of a dataclass are. The next exec() makes it forget this.
        exec("")
        print("sktransfer: interrupted", file=sys.stderr)
        return 130  # as a shell reports SIGINT


if __name__ == "__main__":
    sys.exit(main())
