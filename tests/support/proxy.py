"""A proxy for HTTP and HTTPS, for tests; stands alone. It alone knows where the hosts are that it leads to."""

import http.client
import select
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_CHUNK = 1 << 16


class Proxy:
    """The server. Use it as a context."""

    def __init__(self, hosts: dict[str, str]) -> None:
        self.hosts = hosts
        """Where a host is, by the name that clients give."""
        self.seen: list[str] = []
        """What was asked for, as `CONNECT hub.test:443` or `GET hub.test`."""
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "Proxy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    owner: Proxy
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_CONNECT(self) -> None:
        """A tunnel, for HTTPS."""
        host, _, port = self.path.partition(":")
        self.owner.seen.append(f"CONNECT {self.path}")
        if host not in self.owner.hosts:
            return self.send_error(403)
        with socket.create_connection((self.owner.hosts[host], int(port)), timeout=10) as there:
            self.send_response(200)
            self.end_headers()
            self._pass_on(there)
        self.close_connection = True
        return None

    def _pass_on(self, there: socket.socket) -> None:
        ends = {self.connection: there, there: self.connection}
        while ready := select.select(list(ends), [], [], 10)[0]:
            for one in ready:
                data = one.recv(_CHUNK)
                if not data:
                    return
                ends[one].sendall(data)

    def do_GET(self) -> None:
        self._forward()

    def do_HEAD(self) -> None:
        self._forward()

    def _forward(self) -> None:
        """A request with the whole address, for HTTP."""
        address = urlsplit(self.path)
        self.owner.seen.append(f"{self.command} {address.hostname}")
        if address.hostname not in self.owner.hosts:
            return self.send_error(403)
        there = http.client.HTTPConnection(self.owner.hosts[address.hostname], address.port or 80, timeout=10)
        kept = {name: value for name, value in self.headers.items() if not name.lower().startswith("proxy-")}
        there.request(self.command, f"{address.path}?{address.query}", headers=kept)
        answer = there.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", answer.getheader("Content-Length") or str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        return None
