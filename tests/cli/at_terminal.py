"""Runs a command at a terminal of its own: waits for each text and then types.

usage: at_terminal.py SCRIPT COMMAND...
SCRIPT is JSON: [[text to wait for, keys to type], ...]. Prints what the terminal showed; the exit code is the
command's, 98 if a text never came.
"""

import json
import os
import pty
import select
import sys
import time

script, command = json.loads(sys.argv[1]), sys.argv[2:]
pid, terminal = pty.fork()
if pid == 0:
    os.execv(command[0], command)

shown, looked_at, code = b"", 0, None
give_up = time.monotonic() + 20
while code is None:
    if script and script[0][0].encode() in shown[looked_at:]:
        text, keys = script.pop(0)
        looked_at = shown.index(text.encode(), looked_at) + len(text.encode())
        os.write(terminal, keys.encode())
        continue
    if time.monotonic() > give_up:
        os.kill(pid, 9)
        code = 98
        break
    if select.select([terminal], [], [], 0.1)[0]:
        try:
            part = os.read(terminal, 65536)
        except OSError:
            part = b""
        if part:
            shown += part
            continue
    done, status = os.waitpid(pid, os.WNOHANG)
    if done:
        code = os.waitstatus_to_exitcode(status)
sys.stdout.buffer.write(shown)
if script:
    print(f"\nnever came: {script[0][0]!r}")
sys.exit(98 if script else code)
