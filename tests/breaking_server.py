"""A server on loopback with one file, that breaks off or refuses as a test tells it."""

import http.server

import numpy as np

CONTENT = np.random.default_rng(0).bytes(300_000)


class Server(http.server.ThreadingHTTPServer):
    """One file; what it does with the first requests is set by the tests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.tag = '"one"'
        self.ranges = True  # whether it knows of ranges
        self.breaks: list[int] = []  # bytes after which the next answers break off
        self.statuses: list[int] = []  # errors with which the next requests are answered
        self.asked: list[str | None] = []  # the Range of each request

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/set.tar.gz"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        server.asked.append(self.headers["Range"])
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        start = 0
        if server.ranges and self.headers["Range"]:
            if self.headers["If-Range"] in (None, server.tag):
                start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        size = len(server.content)
        if start >= size:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        if server.tag:
            self.send_header("ETag", server.tag)
        self.send_header("Content-Length", str(size - start))
        self.end_headers()
        stop = start + server.breaks.pop(0) if server.breaks else size
        self.wfile.write(server.content[start:stop])

    def log_message(self, *_: object) -> None: ...
