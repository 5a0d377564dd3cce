# SPDX-License-Identifier: Apache-2.0
"""vmmsd with a fake worker, in directories of its own: `daemon` starts it, `rpc` calls it."""

import pathlib

import pytest

import service


def pytest_addoption(parser):
    parser.addoption("--builddir", default=service.default_build(), help="where hvstack is built")


@pytest.fixture
def build(request):
    return pathlib.Path(request.config.getoption("--builddir")).resolve()


@pytest.fixture
def daemon(build, tmp_path_factory):
    """A running vmmsd; its workers and itself are ended at the end."""
    instance = service.Daemon(build)
    instance.start()
    yield instance
    instance.clean_up()


@pytest.fixture
def stopped(build):
    """A vmmsd that the test starts itself."""
    instance = service.Daemon(build)
    yield instance
    instance.clean_up()


@pytest.fixture
def images(build):
    """A running vmmsd with the real worker program, and a folder for images in its directory."""
    instance = service.Daemon(build)
    instance.worker = build / "vmwp/vmwp"
    instance.start()
    instance.images = instance.dir / "images"
    instance.images.mkdir()
    yield instance
    instance.clean_up()
