"""A stdio server that does what a test tells it to, by tool. Says what it was sent in the file of --seen."""
import json
import os
import subprocess
import sys
import threading
import time

seen = open(os.environ["SEEN"], "ab", buffering=0) if "SEEN" in os.environ else None
out = sys.stdout.buffer
lock = threading.Lock()


def send(text):
    with lock:
        out.write(text if isinstance(text, bytes) else text.encode())
        out.flush()


def result(id, text):
    value = {"content": [{"type": "text", "text": text}], "zz-unknown": [1, 2.50, None], "isError": False}
    send('{"result": %s, "jsonrpc": "2.0","id": %s}\n' % (json.dumps(value, ensure_ascii=False), json.dumps(id)))


TOOLS = [
    {"name": "get_logs", "description": "Reads logs.", "inputSchema": {"type": "object"},
     "annotations": {"readOnlyHint": True}},
    {"name": "delete_database", "description": "Deletes a database.", "inputSchema": {"type": "object"}},
]


def call(message):
    id, params = message.get("id"), message["params"]
    name, arguments = params["name"], params.get("arguments") or {}
    if name in ("get_big", "delete_big"):
        with lock:
            out.write(b'{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"' % json.dumps(id).encode())
            for _ in range(arguments["megabytes"]):
                out.write(b"x" * (1 << 20))
                out.flush()
            out.write(b'"}]}}\n')
            out.flush()
    elif name == "get_slowly":
        time.sleep(arguments["seconds"])
        result(id, "done")
    elif name == "get_progress":
        token = params["_meta"]["progressToken"]
        for n in range(3):
            send(json.dumps({"jsonrpc": "2.0", "method": "notifications/progress",
                             "params": {"progressToken": token, "progress": n + 1}}) + "\n")
        result(id, "done")
    elif name == "get_crash":
        os._exit(7)
    elif name == "get_hang":
        while True:
            time.sleep(1)
    elif name == "get_garbage":
        send(b"Traceback: {{{ \xff\xfe \"id\": 3 }]\n\n{\"half\": \n")
        result(id, "after garbage")
    elif name == "get_error":
        send('{"jsonrpc":"2.0","id":%d,"error":{"code":-32000,"message":"broken"}}\n' % id)
    elif name == "get_child":
        child = subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        result(id, str(child.pid))
    else:
        result(id, "%s ran with %s" % (name, json.dumps(arguments, sort_keys=True)))


for line in sys.stdin.buffer:
    if seen:
        seen.write(line)
    try:
        message = json.loads(line)
    except ValueError:
        continue
    if not isinstance(message, dict):
        continue
    method, id = message.get("method"), message.get("id")
    if method == "initialize":
        send(json.dumps({"jsonrpc": "2.0", "id": id, "result": {
            "protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
            "serverInfo": {"name": "scripted", "version": "1"}}}) + "\n")
    elif method == "tools/list":
        send(json.dumps({"jsonrpc": "2.0", "id": id, "result": {"tools": TOOLS}}) + "\n")
    elif method == "tools/call":
        threading.Thread(target=call, args=(message,), daemon=True).start()
    elif method is not None and id is not None:
        send('{"id":%s,"jsonrpc" : "2.0","result":{"echo":%s}}\r\n' % (json.dumps(id), json.dumps(method)))
if os.environ.get("STAYS"):
    while True:
        time.sleep(1)
time.sleep(float(os.environ.get("LINGERS", "0.3")))
