"""A web server for the tests that download."""

import asyncio
import ssl
import threading
from collections import Counter
from collections.abc import Awaitable, Callable

Answer = Callable[["Server", asyncio.StreamWriter, dict[str, str]], Awaitable[None]]


class Server:
    """A web server on this machine that answers each path as a test says, byte for byte."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes | Answer | list[bytes | Answer]] = {}
        """By path; the entries of a list one after the other, the last for ever."""
        self.requests: list[tuple[str, dict[str, str]]] = []
        """Path and headers, lower-cased."""
        self.accepted = 0
        """Connections; with TLS, those whose handshake came to an end."""
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self, tls: ssl.SSLContext | None = None) -> "Server":
        self._thread.start()
        starting = asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        server = asyncio.run_coroutine_threadsafe(starting, self._loop).result()
        self.port = server.sockets[0].getsockname()[1]
        return self

    def stop(self) -> None:
        async def end() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    @property
    def tries(self) -> Counter[str]:
        return Counter(path for path, _ in self.requests)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            while True:
                first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()
                headers = dict(line.lower().split(": ", 1) for line in lines if line)
                path = first.split()[1]
                self.requests.append((path, headers))
                answer = self.answers[path]
                if isinstance(answer, list):
                    answer = answer.pop(0) if len(answer) > 1 else answer[0]
                if isinstance(answer, bytes):
                    writer.write(answer)
                    await writer.drain()
                else:
                    await answer(self, writer, headers)
                if writer.is_closing():
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def answer(body: bytes = b"", status: str = "200 OK", *headers: str) -> bytes:
    """A whole answer; its length is given unless a header says how long it is."""
    own = [] if any(h.lower().startswith(("content-length", "transfer-encoding")) for h in headers) else [len(body)]
    lines = [f"HTTP/1.1 {status}", *headers, *(f"Content-Length: {length}" for length in own)]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
