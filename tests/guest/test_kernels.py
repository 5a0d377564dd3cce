# SPDX-License-Identifier: Apache-2.0
"""Debian's own kernels boot to user space in VMs made with hvadm, on the soft backend."""
import re

import pytest
from stack import GUEST, Console, Stack

CMDLINE = "console=ttyS0 panic=-1 hv.then=poweroff"


@pytest.fixture(name="stack", scope="module")
def _stack():
    with Stack() as stack:
        yield stack


@pytest.mark.parametrize("flavour", ["cloud", "generic"])
@pytest.mark.parametrize("cpus,memory", [(1, "128M"), (1, "512M"), (2, "1G"), (4, "6G")])
def test_a_kernel_boots_to_user_space_and_powers_off(stack, flavour, cpus, memory):
    name = f"{flavour}-{cpus}-{memory}"
    stack.create(name, GUEST / f"vmlinuz-{flavour}", GUEST / "initrd.img", CMDLINE, cpus, memory)
    stack.hvadm("vm", "start", name)
    console = Console(stack, name)
    found = console.wait_for(r"^guest: Linux \S+, (\d+) processors, (\d+) MiB, clock source (\S+)",
                             240)
    assert int(found[1]) == cpus
    assert re.match("hyperv_clocksource_(tsc_page|msr)", found[3]), found[3]
    size = int(memory[:-1]) * (1024 if memory[-1] == "G" else 1)
    assert size * 0.55 < int(found[2]) <= size
    console.wait_for(r"reboot: Power down|guest: ready", 60)
    stack.wait_state(name, "off", 60)
    text = console.text()
    seen = ["Hypervisor detected: Microsoft Hyper-V", "Hyper-V: privilege flags low",
            "Spectre V2 : Mitigation: Enhanced / Automatic IBRS"]
    if cpus > 1:  # who is alone is not told of others
        seen += ["Hyper-V: Using hypercall for remote TLB flush", "Hyper-V: Using IPI hypercalls",
                 "Hyper-V: PV spinlocks enabled"]
    for line in seen:
        assert line in text, f"the kernel doesn't say: {line}"
    # The kernel's own complaints: oopses, lockups, a clock that it gave up on.
    assert not re.search(r"\bBUG:|\bOops|Call Trace|rcu: INFO|soft lockup|clocksource:.*unstable",
                         text), text[-3000:]
    console.close()
    stack.hvadm("vm", "delete", name)


def test_what_ends_a_guest_is_told(stack):
    for then, cause in (("poweroff", "guest_power_off"), ("reboot", "guest_reset")):
        name = f"ends-by-{then}"
        stack.create(name, GUEST / "vmlinuz-cloud", GUEST / "initrd.img",
                     f"console=ttyS0 panic=-1 hv.then={then}")
        stack.hvadm("vm", "start", name)
        console = Console(stack, name)
        console.wait_for(r"^guest: ready", 120)
        if then == "poweroff":
            stack.wait_state(name, "off", 60)
        else:
            # Started again by the worker: the banner comes a second time, the state stays.
            console.wait_for(r"guest: ready[\s\S]*guest: /init has started", 120)
            assert stack.state(name) == "running"
            stack.hvadm("vm", "off", name)
        console.close()
        events = stack.hvadm("events").stdout
        assert cause in events, events
        stack.hvadm("vm", "delete", name)


def test_a_guest_outlives_a_killed_vmmsd(stack):
    stack.create("survivor", GUEST / "vmlinuz-cloud", GUEST / "initrd.img",
                 "console=ttyS0 panic=-1")
    stack.hvadm("vm", "start", "survivor")
    console = Console(stack, "survivor")
    console.wait_for(r"^guest: ready", 120)
    pid = stack.worker_pid("survivor")
    console.close()
    stack.kill()
    stack.start()
    stack.wait_state("survivor", "running", 10)
    assert stack.worker_pid("survivor") == pid
    # And it is the same guest, still listening.
    stack.hvadm("vm", "console", "survivor", input="echo still $((40 + 2)) alive; poweroff -f\n",
                timeout=60, check=False)
    stack.wait_state("survivor", "off", 60)
    assert "still 42 alive" in stack.hvadm("vm", "console", "survivor", "--log").stdout
    stack.hvadm("vm", "delete", "survivor")


def test_several_readers_see_the_same_console(stack):
    stack.create("readers", GUEST / "vmlinuz-cloud", GUEST / "initrd.img", CMDLINE)
    stack.hvadm("vm", "start", "readers")
    consoles = [Console(stack, "readers") for _ in range(3)]
    for console in consoles:
        console.wait_for(r"^guest: ready", 120)
    stack.wait_state("readers", "off", 60)
    texts = []
    for console in consoles:
        console.process.wait(20)
        texts.append(console.text())
    assert texts[0] == texts[1] == texts[2]
    stack.hvadm("vm", "delete", "readers")
