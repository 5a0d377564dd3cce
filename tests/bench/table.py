# SPDX-License-Identifier: Apache-2.0
"""The table of what managing costs: ours, the bound, the peer's."""

HEAD = f"""{'':47} {'':>9} {'':4} {'':>12}  {'':6} {'':>9} {'times better':>15}
{'':47} {'hvstack':>9} {'':4} {'bound':>12}  {'':6} {'libvirt':>9} {'is':>8} {'needed':>7}"""


def row(what, mine, unit, bound, peer=None, peer_then=None):
    """Print a figure beside its bound and the peer's; rates are better high, times low.

    A bound comes from a machine of its own, on which the peer's figure was `peer_then`, where that is known. On any
    other one, to be as many times better than the peer as the bound is says more than the bound itself."""
    is_rate = unit == "/s"

    def times_better(value, than):
        return value / than if is_rate else than / value

    met = "met" if times_better(mine, bound) >= 1 else "MISSED"
    other = [f"{'-':>9}", f"{'-':>6}  ", f"{'-':>5}  ", ""]
    if peer:
        other[:2] = [f"{peer:9.1f}", f"{times_better(mine, peer):6.2f} x"]
    if peer and peer_then:
        needed = times_better(bound, peer_then)
        other[2:] = [f"{needed:5.2f} x", "met" if times_better(mine, peer) >= needed else "MISSED"]
    print(f"{what:47} {mine:9.1f} {unit:4} {'from' if is_rate else 'to':4} {bound:7g}  {met:6} {' '.join(other)}".rstrip(),
          flush=True)
