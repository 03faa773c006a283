"""The command `tap-email-metrics`.

`--version` is answered at once: everything else needs the SDK, and its import takes
most of a short command's time.
"""

from __future__ import annotations

import sys
from importlib.metadata import version

NAME = "tap-email-metrics"


def main() -> None:
    """Run the command."""
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(
            f"{NAME} v{version(NAME)}, Meltano SDK v{version('singer-sdk')}\n"
        )
        return
    from tap_email_metrics import tap  # noqa: PLC0415 - see above

    tap.main()


if __name__ == "__main__":
    main()
