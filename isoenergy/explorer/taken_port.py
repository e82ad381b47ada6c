"""The port of a page: taken before anything is worked out, and the addresses by which it is reached."""

import errno
import socket

from isoenergy.errors import InputError

_ALL = ("0.0.0.0", "::")
_NOWHERE = ("192.0.2.1", 9)  # RFC 5737: of documentation; a datagram socket that is connected to it sends nothing


def bound(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """Return a socket that listens, of a free port for 0; who comes before it is served waits.

    Raises InputError if the port is taken or the host is not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen(128)
    except OSError as error:
        made.close()
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            raise InputError(
                f"{host!r} is no address of this machine ({error.strerror}); give another --host"
            ) from error
        raise InputError(f"port {port} of {host} is not to be had ({error.strerror}); give another --port") from error
    return made


def reached_by(taken: socket.socket) -> list[str]:
    """Return the hosts by which a socket that listens is reached: of all interfaces first the loopback's, then ours."""
    host = str(taken.getsockname()[0])
    return list(dict.fromkeys(["127.0.0.1", socket.gethostname(), *_outward()])) if host in _ALL else [host]


def _outward() -> list[str]:
    """The address by which this machine reaches others, if it reaches any."""
    with socket.socket(type=socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(_NOWHERE)
        except OSError:
            return []
        return [str(asked.getsockname()[0])]
