"""The certificate of the servers with TLS: one per process, of an authority nobody else knows."""

from __future__ import annotations

import ssl
import tempfile

# rsloop reads the files again that a context was given, so they must not go before the process does.
KEPT: list[tempfile.TemporaryDirectory[str]] = []


def server_context() -> ssl.SSLContext:
    # Here, not above: whoever measures no row with TLS needs no `trustme`.
    import trustme

    folder = tempfile.TemporaryDirectory()
    KEPT.append(folder)
    identity = trustme.CA().issue_cert("localhost")
    chain, key = f"{folder.name}/chain.pem", f"{folder.name}/key.pem"
    for number, certificate in enumerate(identity.cert_chain_pems):
        certificate.write_to_path(chain, append=number > 0)
    identity.private_key_pem.write_to_path(key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain, key)
    return context
