"""A child of a test that is refused some system calls, as in a sandbox."""

from __future__ import annotations

# Whoever runs this has `refuse(number, error)`, which holds until its end.
REFUSING = """
    import asyncio, ctypes, errno, os, signal, struct

    def refuse(number, error, argument=None):
        load, jump_equal, jump, give = 0x20, 0x15, 0x05, 0x06
        program = [(load, 0, 0, 0), (jump_equal, 0, 3 if argument is not None else 1, number)]
        if argument is not None:
            program += [(load, 0, 0, 16), (jump_equal, 0, 1, argument)]
        program += [(give, 0, 0, 0x00050000 | error), (give, 0, 0, 0x7FFF0000)]
        code = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
        buffer = ctypes.create_string_buffer(code)
        head = struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer))
        libc = ctypes.CDLL(None, use_errno=True)
        PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
        assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
        assert libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.create_string_buffer(head), 0, 0) == 0
"""
