# SPDX-License-Identifier: Apache-2.0
"""What only the pages say."""

HVADM = [
    "hvadm makes, starts, watches and ends virtual machines, by calling vmmsd(8), here or on another host. A command is a "
    "noun and a verb. VMs and groups are named by name or by id; jobs by their number.",
    "Tables and sentences are for people. Programs give --json, and get on standard output what the service answers, and on "
    "standard error, also as JSON, why it does not; the exit status tells what kind of error it was.",
    "Tables are as wide as the terminal, or as COLUMNS says; what is too long for its column is cut and ends in ~. Where the "
    "output is neither, nothing is cut.",
]
HVADM_EXAMPLES = [
    ("Make a VM and sit down at its serial port:",
     ["hvadm vm create web --cpus 2 --memory 1G --kernel vmlinuz --initrd initrd.img",
      "hvadm vm start web && hvadm vm console web"]),
    ("A VM whose name begins with a dash:", ["hvadm vm show -- -old"]),
    ("What would happen, and then exactly that:",
     ["hvadm --json --plan vm delete web | jq -r .plan.plan_id", "hvadm --plan-id ID vm delete web"]),
    ("The service of another host, once one is enrolled there:", ["hvadm --connect https://host2:8443 vm list"]),
]
HVADM_FILES = [
    ("/run/hvstack/vmms.sock", "The service's socket."),
    ("~/.config/hvstack/HOST_PORT/", "Key and certificates for another host, as hvadm remote enroll got them."),
]
VMMSD = [
    "vmmsd keeps virtual machines: their definitions and states, the worker process of each one that runs, and the API over "
    "which hvadm(1) and other programs manage them. The service hvstack runs it; see systemctl status vmmsd.",
]
VMMSD_FILES = [
    ("/etc/hvstack/vmmsd.conf, /etc/hvstack/vmmsd.conf.d/*.conf", "The configuration of the service; see vmmsd.conf(5)."),
    ("/var/lib/hvstack/vmms.db", "The database of VMs, jobs and events; its backups are in backups/ beside it."),
    ("/run/hvstack/vmms.sock", "The socket on which the API is served."),
]
VMMSD_SIGNALS = [
    ("SIGHUP", "Read configuration and certificates anew."),
    ("SIGTERM, SIGINT", "End. Workers go on running, and with them their VMs."),
]
CONF = [
    "Lines are \"key = value\", \"[section]\" or comments, which begin with # or ;. A section's keys stand below its line. "
    "What stands on vmmsd's command line counts more.",
]
