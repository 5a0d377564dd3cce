# SPDX-License-Identifier: Apache-2.0
"""Images beside qemu-img: the tool, and what both say."""
import os
import pathlib
import shutil
import subprocess

import pytest

BUILD = pathlib.Path(os.environ.get("HVSTACK_BUILD", "build-test")).resolve()
TOOL = BUILD / "tests/images/image-tool"
QEMU_NAMES = {"raw": "raw", "vhd": "vpc", "vhdx": "vhdx"}


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


class Images:
    """A folder of images."""

    def __init__(self, folder):
        self.folder = folder

    def path(self, name):
        return self.folder / name

    def tool(self, command, *arguments):
        return run(TOOL, command, *arguments)

    def qemu(self, *arguments):
        return run("qemu-img", *arguments)

    def change(self, name, seed, count=150, model="model.raw"):
        """Change an image and a raw model alike."""
        self.tool("random", seed, count, self.path(name), self.path(model))

    def info(self, name):
        lines = self.tool("info", self.path(name)).splitlines()
        return dict(line.split(" ", 1) for line in lines)

    def check(self, name):
        assert self.tool("check", self.path(name)) == "0 problems\n"

    def same(self, name, model="model.raw"):
        """qemu-img reads in the image what the model has."""
        kind = QEMU_NAMES[name.rsplit(".", 1)[1]]
        self.qemu("compare", "-f", kind, "-F", "raw", self.path(name), self.path(model))
        if kind == "vhdx":
            self.qemu("check", "-f", kind, self.path(name))

    def flat(self, name):
        """And so do we: the whole chain as a raw file."""
        flat = self.path("flat.raw")
        self.tool("convert", self.path(name), flat, "raw", "fixed")
        self.qemu("compare", "-f", "raw", "-F", "raw", flat, self.path("model.raw"))
        flat.unlink()


@pytest.fixture
def images(tmp_path):
    if not shutil.which("qemu-img"):
        pytest.skip("qemu-img is not here: apt-get install qemu-utils")
    yield Images(tmp_path)
    shutil.rmtree(tmp_path, ignore_errors=True)
