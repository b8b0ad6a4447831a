"""`python -m weighbridge.cli` is the `weighbridge` command."""

from __future__ import annotations

from weighbridge.cli.main import main

if __name__ == "__main__":
    main()
