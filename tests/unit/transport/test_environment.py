"""Errors of certificates and proxies name the variable that is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import certifi
import pytest

from tap_email_metrics.errors import AuthenticationFailed, Fatal
from tap_email_metrics.transport.client import new_session, send
from tap_email_metrics.transport.environment import (
    CERTIFICATES,
    certificates,
    check_proxy,
    proxy_variable,
)

if TYPE_CHECKING:
    from pathlib import Path

    import requests

URL = "https://api.example.edu/v2"


def go_on() -> None:
    """Let everything wait: the run has no end."""


@pytest.mark.parametrize("name", CERTIFICATES)
def test_a_missing_certificate_file_names_its_variable(
    name: str,
) -> None:
    with pytest.raises(AuthenticationFailed, match=f"{name} .* does not exist"):
        certificates({name: "/nonexistent.pem"})


def test_a_certificate_file_that_cannot_be_looked_at_names_its_variable() -> None:
    with pytest.raises(AuthenticationFailed, match=r"SSL_CERT_FILE .* cannot be read"):
        certificates({"SSL_CERT_FILE": "/" + "long" * 100})


@pytest.mark.parametrize("content", ["", "no certificate\n"])
def test_a_file_without_certificates_names_its_variable(
    tmp_path: Path, content: str
) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(content)
    with pytest.raises(AuthenticationFailed, match=r"SSL_CERT_FILE .* holds no cert"):
        certificates({"SSL_CERT_FILE": str(file)})


@pytest.mark.parametrize("name", CERTIFICATES)
def test_each_certificate_variable_works_alone(name: str) -> None:
    assert certificates({name: certifi.where()}) == certifi.where()


def test_variables_of_requests_come_before_ssl_cert_file(tmp_path: Path) -> None:
    both = {"SSL_CERT_FILE": "/nonexistent.pem", "REQUESTS_CA_BUNDLE": str(tmp_path)}
    assert certificates(both) == str(tmp_path)
    assert certificates({"REQUESTS_CA_BUNDLE": ""}) is None


def test_requests_are_verified_with_ssl_cert_file_if_it_alone_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in CERTIFICATES:
        monkeypatch.delenv(name, raising=False)
    assert verified_with(new_session(None, go_on)) is True
    monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
    assert verified_with(new_session(None, go_on)) == certifi.where()


def verified_with(session: requests.Session) -> object:
    found = session.merge_environment_settings(
        URL, proxies={}, stream=False, verify=None, cert=None
    )
    return found["verify"]


@pytest.mark.parametrize(
    "proxy",
    [
        *("http://", "http://:3128", "http://proxy:port", "ftp://proxy:21"),
        *("http://[::1", "http://user:pass word@/", "://", "http://proxy:99999"),
        *("socks5://proxy:1080", "proxy:3128"),
    ],
)
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_malformed_proxy_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, proxy: str
) -> None:
    with pytest.raises(AuthenticationFailed, match=f"the variable {name} ") as caught:
        check_proxy(URL, proxy, {name: proxy, "HTTP_PROXY": "http://another:1"})
    assert "pass word" not in str(caught.value)
    monkeypatch.setenv(name, proxy)
    with pytest.raises(AuthenticationFailed, match=f"the variable {name} "):
        send(new_session(None, go_on), "GET", URL, "GET /v2")


@pytest.mark.parametrize("proxy", ["127.0.0.1:3128", "http://user:word@proxy:3128"])
def test_a_well_formed_proxy_is_accepted(proxy: str) -> None:
    check_proxy(URL, proxy, {"HTTPS_PROXY": proxy})


def test_an_unreachable_proxy_names_its_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    with pytest.raises(Exception, match="the variable HTTPS_PROXY names") as caught:
        send(new_session(None, go_on), "GET", URL, "GET /v2")
    assert not isinstance(caught.value, Fatal)  # the proxy may come back


def test_a_proxy_variable_in_lower_case_comes_first() -> None:
    both = {"HTTPS_PROXY": "http://one", "https_proxy": "http://two"}
    assert proxy_variable(URL, both) == "https_proxy"
    assert proxy_variable(URL, {}) == "HTTPS_PROXY"
