"""One host: `python tests/hosts KIND DIRECTORY`. Silence and status 0 mean that all was as it should be."""

import sys

import callbacks
import children
import copies
import descriptors
import forks
import signals
import surroundings
import threads

KINDS = {
    name: kind
    for module in (callbacks, children, copies, descriptors, forks, signals, surroundings, threads)
    for name, kind in vars(module).items()
    if getattr(kind, "__module__", None) == module.__name__ and not name.startswith("_")
}

if __name__ == "__main__":
    kind, directory = sys.argv[1:]
    sys.exit(KINDS[kind](directory))
