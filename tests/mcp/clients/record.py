"""record.py FILE COMMAND...: passes standard input and output on and keeps every byte of the output in FILE."""
import os
import subprocess
import sys
import threading

child = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def feed():
    while chunk := os.read(0, 65536):
        child.stdin.write(chunk)
        child.stdin.flush()
    child.stdin.close()


threading.Thread(target=feed, daemon=True).start()
with open(sys.argv[1], "wb", buffering=0) as file:
    while chunk := os.read(child.stdout.fileno(), 65536):
        file.write(chunk)
        os.write(1, chunk)
sys.exit(child.wait())
