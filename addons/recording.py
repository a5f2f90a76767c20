"""Write down each WebSocket message before it is passed on: the transcript is part of the log.

Stands after `masking.Apply` and arrival, and before `audit.Outcome`, which writes the end. A message that cannot be written
is not passed on, and the session ends. What an event holds is decided in `addons.core.audit.messages`, how a transcript reads in
`addons.core.recording.transcript`. Loaded alone it has an empty Runtime, so it refuses everything.
"""

from mitmproxy import http

from addons.core.audit.log import AuditLog
from addons.core.errors import AuditError
from addons.host import socket_steps, sockets
from addons.host.fail_closed import guard
from addons.host.runtime import Runtime


class Recording:
    name = "guardhouse-recording"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    async def websocket_message(self, flow: http.HTTPFlow) -> None:
        await socket_steps.record_message(self.runtime, flow, self._log())

    async def websocket_end(self, flow: http.HTTPFlow) -> None:
        """The control frames that came after the last message."""
        if sockets.find(flow) is not None:
            await socket_steps.record_control(self.runtime, flow, self._log())

    def _log(self) -> AuditLog:
        if self.runtime.store is None:
            raise AuditError(detail="the audit log is not open")
        return self.runtime.store


addons = [guard(Recording(Runtime()))]
