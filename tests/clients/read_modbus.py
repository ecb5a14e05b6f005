"""Read a station's verdicts as a PLC does: `python tests/clients/read_modbus.py HOST PORT VERDICTS`.

Needs only pymodbus. Reads the block until the sequence has moved, and prints one line for each verdict since.
"""

from __future__ import annotations

import sys
import time

from pymodbus.client import ModbusTcpClient

OUTCOMES = ("none", "PASS", "FAIL", "NOT_INSPECTED")
WAIT_S = 30.0


def main(host: str, port: int, verdicts: int) -> int:
    """Print so many verdicts; returns 1 if they did not come in time."""
    client = ModbusTcpClient(host, port=port)
    if not client.connect():  # type: ignore[no-untyped-call]
        print(f"no station at {host}:{port}", file=sys.stderr)
        return 1
    seen, until_s = _block(client)[1], time.monotonic() + WAIT_S
    first = seen
    print("reading", flush=True)
    while seen < first + verdicts and time.monotonic() < until_s:
        words, sequence = _block(client)
        for each in range(seen + 1, sequence + 1):  # the ring holds the last 16: none is missed by a scan of 16 parts
            at = 32 + 4 * (each % 16)
            part, outcome, reason = words[at] << 16 | words[at + 1], OUTCOMES[words[at + 2]], words[at + 3]
            heartbeat = words[2] << 16 | words[3]
            print(f"sequence {each} part {part} {outcome} reason {reason} heartbeat {heartbeat}", flush=True)
        seen = sequence
        time.sleep(0.005)
    client.close()  # type: ignore[no-untyped-call]
    return int(seen < first + verdicts)


def _block(client: ModbusTcpClient) -> tuple[list[int], int]:
    words = list(client.read_input_registers(0, count=96, device_id=1).registers)
    return words, words[4] << 16 | words[5]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
