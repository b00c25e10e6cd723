"""An HTTP server that does what a test tells it to, by tool. Prints its port, keeps what it was sent in SEEN."""
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

seen = open(os.environ["SEEN"], "ab", buffering=0)
lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def whole(self, status, kind, body, headers=()):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("X-Odd-Header", "kept")
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def chunk(self, bytes):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(bytes), bytes))
        self.wfile.flush()

    def stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def do_GET(self):
        self.whole(405, "text/plain", b"no")

    def do_DELETE(self):
        with lock:
            seen.write(b"DELETE %s\n" % self.headers.get("Mcp-Session-Id", "").encode())
        self.whole(200, "text/plain", b"")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with lock:
            seen.write(body + b"\n")
        try:
            message = json.loads(body)
        except ValueError:
            return self.whole(400, "text/plain", b"what?")
        if not isinstance(message, dict):
            return self.whole(202, "text/plain", b"")
        method, id = message.get("method"), message.get("id")
        if method == "initialize":
            answer = {"jsonrpc": "2.0", "id": id, "result": {
                "protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                "serverInfo": {"name": "scripted-http", "version": "1"}}}
            return self.whole(200, "application/json", json.dumps(answer).encode(), [("Mcp-Session-Id", "session-1")])
        if method != "tools/call":
            if id is None:
                return self.whole(202, "text/plain", b"")
            return self.whole(200, "application/json", b'{"id":%s,\n "jsonrpc" : "2.0","result":{}}' % json.dumps(id).encode())
        name, arguments = message["params"]["name"], message["params"].get("arguments") or {}
        text = "%s ran with %s" % (name, json.dumps(arguments, sort_keys=True))
        answer = json.dumps({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": text}]}}).encode()
        if name == "delete_streaming":
            self.stream()
            note = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "x"}}
            self.chunk(b"data: " + json.dumps(note).encode() + b"\n\ndata: " + answer + b"\n\n")
            self.chunk(b"")
        elif name == "get_events":
            self.stream()
            token = message["params"]["_meta"]["progressToken"]
            for n in range(3):
                note = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": n + 1}}
                self.chunk(b"event: message\ndata: " + json.dumps(note).encode() + b"\n\n")
                time.sleep(0.2)
            self.chunk(b": said\n\nid: 7\ndata: " + answer + b"\r\n\r\n")
            self.chunk(b"")
        elif name == "get_big":
            self.stream()
            self.chunk(b'data: {"jsonrpc":"2.0","id":%d,"result":{"content":[{"type":"text","text":"' % id)
            for _ in range(arguments["megabytes"]):
                self.chunk(b"x" * (1 << 20))
            self.chunk(b'"}]}}\n\n')
            self.chunk(b"")
        elif name == "get_hang":
            time.sleep(1000)
        elif name == "get_broken":
            self.stream()
            self.chunk(b"data: {\"half")
            self.close_connection = True
            self.connection.close()
        else:
            self.whole(200, "application/json", answer)


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
print(server.server_address[1], flush=True)
server.serve_forever()
