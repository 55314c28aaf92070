"""Becomes the embedded server, or watches over it: the few lines between our fork and its exec.

The server must not outlive the process that launched it, also when that one gets SIGKILL. On Linux
the kernel does it: PR_SET_PDEATHSIG, set by the process itself and kept through exec. This file is
a program of its own (`python -I -S embedded_child.py MODE PARENT_PID LOCK_FD COMMAND...`), not a
`preexec_fn`, which runs Python between fork and exec, where another thread may hold any lock.

- MODE `signal`: ask for SIGTERM at the parent's death, then exec the server in place.
- MODE `watch`: for systems without that call. Start the server, read standard input until its end
  (the parent holds the other end and never writes), then send SIGTERM.

The kernel sends the signal when the *thread* that forked ends, so the launcher insists on the main
thread. Standard library only, because -S and -I keep the start at some 20 ms.
"""

import os
import signal
import subprocess
import sys
import threading
from types import FrameType

PR_SET_PDEATHSIG = 1


def become_server(parent_pid: int, command: list[str]) -> None:
    """Replaces this process by `command`, which gets SIGTERM when the parent dies."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) was refused")
    if os.getppid() != parent_pid:  # it died before the call above: nobody would signal us
        raise SystemExit(1)
    os.execv(command[0], command)  # noqa: S606


def watch_server(command: list[str], kept_fds: list[int]) -> int:
    """Runs `command` until it ends or standard input does; returns its exit status."""
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=kept_fds)

    def pass_on(number: int, _frame: FrameType | None) -> None:
        server.send_signal(number)

    def wait_for_parent() -> None:
        while os.read(0, 1):
            pass
        server.terminate()

    signal.signal(signal.SIGTERM, pass_on)
    threading.Thread(target=wait_for_parent, daemon=True).start()
    return server.wait()


def main(arguments: list[str]) -> int:
    """MODE PARENT_PID LOCK_FD COMMAND...; see the head of this file."""
    mode, parent_pid, lock_fd, *command = arguments
    if mode == "signal":
        become_server(int(parent_pid), command)
    return watch_server(command, [int(lock_fd)])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
