"""nginx with the configuration that the documentation prints, exactly but for its places."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from support.cli_child import HANG_S

AROUND = """daemon off;
pid {folder}/pid;
error_log {folder}/error.log notice;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{printed}
}}
"""
"""What Debian's `nginx.conf` has around `conf.d`, for whoever is not root."""


def found() -> str:
    """The program; where there is none, the test is skipped, but not in CI."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if program is None and os.environ.get("CI") == "true":
        pytest.fail("nginx is not here; .ci/run installs it")
    if program is None:
        pytest.skip("there is no nginx: apt-get install nginx-light")
    return program


@contextlib.contextmanager
def running(folder: Path, config: str, places: Mapping[str, str]) -> Iterator[None]:
    """Run nginx.

    Args:
        folder: For its files.
        config: What goes into `conf.d`.
        places: What stands there → what takes its place; each must be there.
    """
    program = found()
    for name, place in places.items():
        assert name in config, name
        config = config.replace(name, place)
    file = folder / "nginx.conf"
    file.write_text(AROUND.format(folder=folder, printed=config), "utf-8")
    log = folder / "error.log"
    nginx = subprocess.Popen([program, "-c", file, "-e", log], stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + HANG_S
        while "start worker process" not in (log.read_text() if log.exists() else ""):
            assert nginx.poll() is None, nginx.stderr and nginx.stderr.read().decode()
            assert time.monotonic() < deadline, "nginx does not start"
            time.sleep(0.02)
        yield
    finally:
        nginx.terminate()
        nginx.communicate(timeout=HANG_S)
