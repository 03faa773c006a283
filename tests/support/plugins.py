"""Install one plugin of `meltano.yml` with Meltano itself, versions pinned."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.support.project import PLUGINS, CommandFailedError, Project

KINDS = {"tap": "extractor", "target": "loader", "dbt": "utility"}


def main() -> None:
    """Install the plugin that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plugin")
    parser.add_argument("--constraints", type=Path, required=True)
    chosen = parser.parse_args()
    project = Project(
        PLUGINS, {"UV_CONSTRAINT": str(chosen.constraints.resolve())}
    ).define()
    kind = KINDS[chosen.plugin.partition("-")[0]]
    try:
        project.meltano("install", "--force", kind, chosen.plugin)
    except CommandFailedError as problem:
        sys.exit(str(problem))


if __name__ == "__main__":
    main()
