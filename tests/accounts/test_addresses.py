"""The short way for IPv4 says what the library says."""

from __future__ import annotations

import ipaddress

from hypothesis import example, given
from hypothesis import strategies as st

from accounts.rest.address import UNKNOWN, resolve

_octets = st.lists(
    st.integers(0, 300).map(str) | st.sampled_from(["", "00", "01", "٣", " 1", "1e"]), min_size=3, max_size=5
)


@given(_octets.map(".".join) | st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(str))
@example("255.255.255.255")
@example("256.1.1.1")
@example("1.2.3.4\n")
@example("::ffff:1.2.3.4")
def test_an_address_is_what_the_library_takes_it_for(address: str) -> None:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        assert resolve(address, "") == UNKNOWN
        return
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        assert resolve(address, "") == str(ipaddress.ip_network((parsed, 64), strict=False))
    else:
        assert resolve(address, "") == str(getattr(parsed, "ipv4_mapped", None) or parsed)
