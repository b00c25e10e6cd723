"""A gate in front of a tool: asks askance before it runs, tells askance what came of it."""
import functools, getpass, inspect, json, os, uuid

import grpc
from askance.v1 import call_pb2, decision_pb2, gateway_service_pb2 as api, gateway_service_pb2_grpc
from google.protobuf.duration_pb2 import Duration

daemon = gateway_service_pb2_grpc.GatewayServiceStub(grpc.insecure_channel(
    os.environ.get("ASKANCE_DAEMON", "127.0.0.1:4750"),
    options=[("grpc.default_authority", "askance")]))  # else a socket's path, which HTTP/2 servers in Rust refuse
who = [f"user:{getpass.getuser()}", "agent:production-tools"]
session = call_pb2.SessionHints(session_id=os.environ.get("ASKANCE_SESSION") or str(uuid.uuid4()))


def gated(server, wait=300):
    """Lets a tool run when askance allows the very call; waits for people up to `wait` seconds."""
    def decorate(tool):
        @functools.wraps(tool)
        def ask_first(*args, **kwargs):
            arguments = dict(inspect.signature(tool).bind(*args, **kwargs).arguments)
            call = call_pb2.ToolCall(
                call_id=str(uuid.uuid4()), server=server, tool=tool.__name__, principal_chain=who,
                session=session, arguments_json=json.dumps(arguments).encode())
            question = api.EvaluateRequest(call=call, wait=Duration(seconds=wait))
            decision = daemon.Evaluate(question, timeout=wait + 2).decision  # not there: raises, and nothing runs
            if decision.verdict != decision_pb2.VERDICT_ALLOW:
                raise PermissionError(f"askance: {decision.reason} {decision.review_id}".strip())
            outcome = call_pb2.Outcome(status=call_pb2.OUTCOME_STATUS_ERROR)
            try:
                result = tool(*args, **kwargs)
                outcome.status, outcome.result_text = call_pb2.OUTCOME_STATUS_OK, str(result).encode()[:65536]
                return result
            finally:
                daemon.RecordOutcome(api.RecordOutcomeRequest(call_id=call.call_id, outcome=outcome), timeout=2)
        return ask_first
    return decorate
