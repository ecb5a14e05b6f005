"""OPC UA with a real client: nodes, a subscription that sees each verdict, events for alarms, and nothing to be written."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from asyncua.client.client import Client
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from asyncua.ua.uaerrors import UaError, UaStatusCodeError
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from edgeapp.core.events import MS, ConfigError, DeviceError, Outcome, Verdict
from edgeapp.core.record import AlarmRecord
from edgeapp.devices import opcua
from edgeapp.devices.line_state import LineState, Station

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:.*(asyncua|uatypes).*"),
]


def _never(error: DeviceError) -> None:
    raise AssertionError(str(error))


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@asynccontextmanager
async def _connected(port: int) -> AsyncIterator[tuple[Any, Callable[[str], Any]]]:
    async with Client(f"opc.tcp://127.0.0.1:{port}/edgeapp", timeout=20) as client:
        space = await client.get_namespace_index(opcua.NAMESPACE)
        yield client, lambda name: client.get_node(f"ns={space};s=Station{'.' if name else ''}{name}")


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.01)


class Seen:
    """What a subscription was told."""

    def __init__(self) -> None:
        self.sequences: list[int] = []
        self.records: list[str] = []
        self.events: list[str] = []

    def datachange_notification(self, node: Any, value: Any, _: Any) -> None:
        (self.records if isinstance(value, str) else self.sequences).append(value)

    def event_notification(self, event: Any) -> None:
        self.events.append(event.Message.Text)


def _judge(state: LineState, server: opcua.OpcUa, part: int) -> LineState:
    outcome = Outcome.FAIL if part % 3 == 0 else Outcome.PASS
    verdict = Verdict(outcome, f"part {part}", "belt", part, 0, 9 * MS, 200 * MS)
    state = state.after(verdict, ())
    server.publish(state, verdict)
    return state


async def test_a_subscription_sees_every_verdict_once_and_in_order_and_alarms_are_events() -> None:
    port, seen = _free_port(), Seen()
    async with opcua.serve(opcua.Options(port=port), _never) as server, _connected(port) as (client, node):
        state = LineState(Station.RUNNING)
        server.publish(state)
        subscription = await client.create_subscription(50, seen)
        await subscription.subscribe_data_change([node("Sequence"), node("Record")], queuesize=100)
        await subscription.subscribe_events(node(""))
        for part in range(1, 41):
            state = _judge(state, server, part)
        server.alarm(AlarmRecord("reject", 0, "part 3 was not rejected", 3))
        await _until(lambda: bool(seen.sequences) and seen.sequences[-1] == 40 and bool(seen.events))
        assert seen.sequences == list(range(41))
        assert [json.loads(each)["part"] for each in seen.records if each] == list(range(1, 41))
        assert seen.events == ["part 3 was not rejected"]
        values = {
            name: await node(name).read_value()
            for name in ("State", "Passed", "Failed", "Outcome", "AgeMs", "AlarmText")
        }
        assert values == {
            "State": "running", "Passed": 27, "Failed": 13, "Outcome": "PASS", "AgeMs": 9,
            "AlarmText": "part 3 was not rejected",
        }  # fmt: skip
        with pytest.raises(UaStatusCodeError, match=r"BadNotWritable|BadUserAccessDenied|not writable|denied"):
            await node("Passed").write_value(ua.Variant(0, ua.VariantType.UInt64))
        taken = opcua.Options(port=port)
        with pytest.raises(ConfigError, match=f"OPC UA cannot listen on 127.0.0.1 port {port}"):
            async with opcua.serve(taken, _never):
                pass
    assert server.skipped == 0


def _write_certificate(folder: Path, name: str, uri: str) -> None:
    """A self-signed application certificate as OPC UA wants it: `name`.der and its key `name`.pem."""
    key, now = rsa.generate_private_key(65537, 2048), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False)
    usage = x509.KeyUsage(True, True, True, True, False, True, False, False, False)
    certificate = builder.add_extension(usage, critical=False).sign(key, hashes.SHA256())
    (folder / f"{name}.der").write_bytes(certificate.public_bytes(Encoding.DER))
    (folder / f"{name}.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


async def test_with_a_certificate_only_encrypted_clients_are_let_in(tmp_path: Path) -> None:
    port = _free_port()
    _write_certificate(tmp_path, "server", "urn:freeopcua:python:server")
    _write_certificate(tmp_path, "client", "urn:example.org:FreeOpcUa:opcua-asyncio")
    files = {"certificate": str(tmp_path / "server.der"), "key": str(tmp_path / "server.pem")}
    async with opcua.serve(opcua.Options(port=port, **files), _never) as server:
        server.publish(LineState(Station.RUNNING))
        with pytest.raises(UaError, match="No matching endpoints"):
            async with _connected(port):
                pass
        client = Client(f"opc.tcp://127.0.0.1:{port}/edgeapp", timeout=20)
        await client.set_security(
            SecurityPolicyBasic256Sha256, str(tmp_path / "client.der"), str(tmp_path / "client.pem")
        )
        async with client:
            space = await client.get_namespace_index(opcua.NAMESPACE)
            state = client.get_node(f"ns={space};s=Station.State")
            async with asyncio.timeout(20):
                while await state.read_value() != "running":
                    await asyncio.sleep(0.01)


async def test_a_server_that_is_behind_keeps_the_newest_and_counts_what_it_skipped() -> None:
    server = opcua.OpcUa(opcua.Options(), _never)  # its thread does not run
    state = LineState(Station.RUNNING)
    for part in range(1, 1501):
        state = _judge(state, server, part)
    assert server.skipped == 1500 - 1024
    assert server._waiting[-1][0]["Sequence"] == 1500
