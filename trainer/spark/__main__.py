"""The process that talks to Spark for a training; nothing that people start."""

from __future__ import annotations

import sys

from trainer.spark.driver import main

if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
