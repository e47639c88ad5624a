"""``python -m gluelamp`` is the command ``gluelamp``."""

from gluelamp.cli.main import main

if __name__ == "__main__":
    main()
