"""A process that counts what it is sent over TCP and tells the sender: the peer of rows that only send.

Run as a program it prints its port, and ends with its standard input.
"""

from __future__ import annotations

import socket
import sys
import threading


def swallow(sock: socket.socket) -> None:
    memory = bytearray(1 << 20)
    received = 0
    with sock:
        while count := sock.recv_into(memory):
            received += count
        sock.sendall(str(received).encode())


def serve(listener: socket.socket) -> None:
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=swallow, args=(sock,), daemon=True).start()


if __name__ == "__main__":
    listening = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(listening,), daemon=True).start()
    print(listening.getsockname()[1], flush=True)
    sys.stdin.read()
