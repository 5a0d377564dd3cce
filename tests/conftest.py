# SPDX-License-Identifier: Apache-2.0
"""Tests that share a guest or a host and go in their order: what rests on one that failed isn't tried.

Such a module says `IN_ORDER = True`. Without this each of its later tests would wait for what can't come."""
import pytest

broken = {}


def pytest_runtest_makereport(item, call):
    if call.excinfo and not call.excinfo.errisinstance(pytest.skip.Exception):
        broken.setdefault(item.path, item.name)


def pytest_runtest_setup(item):
    if getattr(item.module, "IN_ORDER", False) and item.path in broken:
        pytest.fail(f"not tried: {broken[item.path]} failed, on whose end this one rests", pytrace=False)
