"""Which network addresses a download may connect to."""

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_GLOBAL_IPV6 = ipaddress.IPv6Network("2000::/3")
_NOT_GLOBAL: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = [  # though some versions of Python take it for that
    *map(ipaddress.IPv4Network, ("192.0.0.0/24", "192.88.99.0/24")),
    *map(ipaddress.IPv6Network, ("2001::/23", "2002::/16", "3fff::/20")),  # Teredo and 6to4 stand for IPv4 addresses
]


def may_connect(address: str, allow_loopback: bool) -> bool:
    """Return whether `address`, as a socket has it, is public: global unicast.

    An IPv6 address that stands for an IPv4 one (mapped, NAT64) is judged by that.
    allow_loopback: loopback is allowed as well; for tests.
    """
    meant = _meant(ipaddress.ip_address(address.partition("%")[0]))
    if meant.is_loopback:
        return allow_loopback
    if meant.version == 6 and meant not in _GLOBAL_IPV6:
        return False
    return meant.is_global and not meant.is_multicast and not any(meant in network for network in _NOT_GLOBAL)


def _meant(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address
