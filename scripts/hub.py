"""The definition of the tap for Meltano Hub, made from `meltano.yml`.

`python -m scripts.hub` rewrites it; a test says when that is due. It is in the form
that the Hub keeps: keys, settings and groups in alphabetical order.
"""

from __future__ import annotations

from typing import Any

import yaml

from tests.support.interpreters import SUPPORTED
from tests.support.project import ROOT

NAME = "tap-email-metrics"
#: What Meltano itself calls a variant that has no name of its own.
VARIANT = "original"
DEFINITION = ROOT / "hub" / "extractors" / NAME / f"{VARIANT}.yml"
TAKEN = (
    *("name", "namespace", "label", "executable", "description"),
    *("capabilities", "select"),
)
PREREQUISITES = (
    "Credentials of one provider: the site id and web services GUID of Encompass; an "
    "app of Constant Contact, authorised with `tap-email-metrics-login`; or an API "
    "integration of LuxSci. A provider is on when its credentials are set."
)


def definition() -> dict[str, Any]:
    """Return the Hub's definition of the tap."""
    meltano = yaml.safe_load((ROOT / "meltano.yml").read_text(encoding="utf-8"))
    [plugin] = [p for p in meltano["plugins"]["extractors"] if p["name"] == NAME]
    return {
        **{key: plugin[key] for key in TAKEN},
        "variant": VARIANT,
        "pip_url": NAME,
        "supported_python_versions": list(SUPPORTED),
        "settings": sorted(plugin["settings"], key=lambda setting: setting["name"]),
        "settings_group_validation": [
            sorted(group) for group in plugin["settings_group_validation"]
        ],
        "keywords": ["api", "email", "meltano_sdk"],
        "maintenance_status": "beta",
        # The Hub gives its own rating, by use.
        "quality": "unknown",
        "prereq": PREREQUISITES,
    }


def text() -> str:
    """Return the definition as the file holds it."""
    return yaml.safe_dump(definition(), allow_unicode=True, width=88)


def main() -> None:
    """Rewrite the file."""
    DEFINITION.parent.mkdir(parents=True, exist_ok=True)
    DEFINITION.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
