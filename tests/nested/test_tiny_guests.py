# SPDX-License-Identifier: Apache-2.0
"""The tiny guests and the worker's claims on a KVM that is real: inside an emulated host."""
from nested import run_nested
from stack import BUILD, TOP


def test_tiny_guests_end_as_they_should():
    guests = BUILD / "tests/guest"
    files = [(BUILD / "vmwp/vmwp", "/g/vmwp"), (TOP / "tests/guest/run-guest", "/g/run-guest"),
             (guests / "list", "/g/list")]
    files += [(image, f"/g/{image.name}") for image in sorted(guests.glob("*.elf"))]
    status, output = run_nested(TOP / "tests/guest/run-list", "/g", files=files)
    assert status == 0, output
    assert " passed, 0 failed" in output, output
    assert "skipped" not in output, output


def test_a_worker_on_kvm_keeps_its_promises():
    files = [(BUILD / "vmwp/vmwp", "/g/vmwp"), (BUILD / "tests/guest/obey.elf", "/g/obey.elf")]
    command = ["/usr/bin/env", "BACKEND=kvm", "HVSTACK_TEST_IS_SLOW=1", "VMWP=/g/vmwp",
               "KERNEL=/g/obey.elf", "/g/test_vmwp_worker"]
    files.append((BUILD / "tests/service/vmwp/test_vmwp_worker", "/g/test_vmwp_worker"))
    status, output = run_nested(*command, files=files)
    assert status == 0, output


def test_the_hypervisor_is_there_as_its_leaves_say():
    image = BUILD / "tests/guest/long/long_hyperv.elf"
    files = [(BUILD / "vmwp/vmwp", "/g/vmwp"), (image, "/g/hyperv.elf")]
    command = [TOP / "tests/guest/run-guest", "/g/vmwp", "kvm", "1", ", 0 wrong", "",
               "--kernel", "/g/hyperv.elf", "--cpus", "2"]
    status, output = run_nested(*command, files=files, timeout=300)
    assert status == 0 and "skipped" not in output, output
