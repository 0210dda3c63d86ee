"""The name by which a database recognizes the project that it sends from."""

import pytest

from jobs.runtime.project import project_host


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://abc.supabase.co", "abc.supabase.co"),
        ("https://ABC.Supabase.co.:443/", "abc.supabase.co"),
        ("http://kong:8000", "kong:8000"),
        ("http://db.internal:80", "db.internal"),
        ("https://[fd00::1]:8000", "[fd00::1]:8000"),
        ("http://127.0.0.1:54321", "localhost"),
        ("http://127.8.0.1:1", "localhost"),
        ("http://[::1]:54321", "localhost"),
        ("http://localhost:54321", "localhost"),
        ("http://api.localhost", "localhost"),
    ],
)
def test_host_names_the_project(url: str, host: str) -> None:
    assert project_host(url) == host


@pytest.mark.parametrize("url", ["", "https://", "https:///path", "https://my host", "https://host:port"])
def test_url_without_host_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"host|port"):
        project_host(url)
