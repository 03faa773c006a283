"""The command line: serve a generated world until a signal."""

from __future__ import annotations

import argparse
import json
import math
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from simulator.clock import DAY
from simulator.constant_contact.auth import BASE as AUTH
from simulator.constant_contact.face import PREFIX as API
from simulator.control import HELP
from simulator.luxsci.facts import PREFIX as LUXSCI_API
from simulator.oddities.names import described
from simulator.replay import Replay
from simulator.server import serve
from simulator.sizes import FUTURE_DAYS, LARGEST
from simulator.world import World

if TYPE_CHECKING:
    from collections.abc import Sequence


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m simulator",
        description="Serve the simulated APIs; the first line printed is the URL.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--oddities", action="store_true", help="list the oddities and exit")
    add("--port", type=int, default=0, help="port; 0 (default) finds a free one")
    add("--seed", type=int, default=1, help="seed of the generated world (default 1)")
    add("--size", type=int, default=40, help="messages of Encompass (default 40)")
    add(
        "--campaigns",
        type=int,
        default=0,
        help="campaigns of Constant Contact (default 0: the configuration does not"
        " contain this provider)",
    )
    add(
        "--luxsci",
        type=int,
        default=0,
        metavar="N",
        help="emails of LuxSci (default 0: the configuration does not contain this"
        " provider)",
    )
    add(
        "--largest",
        type=int,
        default=LARGEST,
        metavar="N",
        help="recipients of the largest message and campaign (default 1100)",
    )
    add(
        "--audience",
        type=int,
        default=0,
        metavar="N",
        help="people and machines that get one more mailing of each provider (default"
        " 0: no mailing)",
    )
    add(
        "--requests-per-second",
        type=float,
        default=4,
        metavar="N",
        help="limit of Constant Contact in real seconds (default 4)",
    )
    add(
        "--requests-per-minute",
        type=int,
        default=60,
        metavar="N",
        help="limit of LuxSci in real time (default 60)",
    )
    add(
        "--long-lived",
        action="store_true",
        help="use a long-lived refresh token for Constant Contact, not a rotating one",
    )
    add(
        "--days-behind",
        type=float,
        default=0.0,
        help="days before the present at which the clock of the world starts (default"
        " 0); it moves only on request",
    )
    add(
        "--replay",
        type=Path,
        metavar="FOLDER",
        help="answer in the shapes that tap-email-metrics-doctor --record wrote",
    )
    add(
        "--config-out",
        type=Path,
        metavar="FILE",
        help="write a configuration for the tap to this file once the port listens",
    )
    return parser


def _write_config(path: Path, world: World, url: str) -> None:
    """Write the settings of the tap for this server; the file appears atomically."""
    account = world.encompass
    config: dict[str, dict[str, object]] = {
        "encompass": {
            "site_url": url,
            "client_id": account.client_id,
            "client_secret": account.client_secret,
            "api_url": url,
        }
    }
    if world.constant_contact.campaigns:
        config["constant_contact"] = _constant_contact(path, world, url)
    if world.luxsci.logins:
        config["luxsci"] = _luxsci(world, url)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def _constant_contact(path: Path, world: World, url: str) -> dict[str, object]:
    """Return the settings of Constant Contact; tokens are stored beside the file."""
    account = world.constant_contact
    store = path.resolve().with_name(f"{path.stem}-constant-contact-token.json")
    return {
        "client_id": account.client_id,
        "client_secret": account.client_secret,
        "refresh_token": account.refresh_token,
        "token_store": str(store) if account.policy.rotating_tokens else "none",
        "requests_per_second": account.policy.requests_per_second,
        "api_url": f"{url}{API}",
        "auth_url": f"{url}{AUTH}",
    }


def _luxsci(world: World, url: str) -> dict[str, object]:
    """Return the settings of LuxSci, in account scope."""
    account = world.luxsci
    return {
        "token": account.token,
        "secret": account.secret,
        "account_id": str(account.account_id),
        "logins": account.logins,
        "requests_per_minute": account.policy.requests_per_minute,
        "api_url": f"{url}{LUXSCI_API}",
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; return 0."""
    options = _parser().parse_args(argv)
    if options.oddities:
        sys.stdout.write(f"{described()}\n")
        return 0
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    start = float(int(time.time() - options.days_behind * DAY))
    ahead = max(FUTURE_DAYS, options.days_behind)
    world = World.generate(
        options.seed,
        options.size,
        start,
        days_ahead=ahead,
        campaigns=options.campaigns,
        luxsci=options.luxsci,
        largest=options.largest,
        audience=options.audience,
    )
    world.constant_contact.set_policy(
        requests_per_second=options.requests_per_second,
        rotating_tokens=not options.long_lived,
    )
    world.luxsci.set_policy(
        requests_per_minute=options.requests_per_minute,
        # The caller uses the real clock; the clock of the world stands still behind it.
        max_skew=math.inf,
    )
    if options.replay:
        world.replay = Replay(options.replay)
    with serve(world, options.port) as server:
        if options.config_out:
            _write_config(options.config_out, world, server.url)
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        stop.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
