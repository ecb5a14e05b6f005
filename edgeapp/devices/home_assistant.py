"""What Home Assistant has to be told once, so that it finds the device on the broker by itself.

One retained message an entity, on `<discovery prefix>/<kind>/<station>/<entity>/config`; topics and keys as in
https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery. The values come from the topics that are there anyway
(`devices/mqtt.py`), and an entity is available while our status topic says `online`. No word that a person said is in any.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

_COUNTS: Final = "total_increasing"

STATION: Final[dict[str, dict[str, Any]]] = {
    "verdict": {
        "name": "Last verdict",
        "topic": "verdict",
        "value": "value_json.outcome",
        "icon": "mdi:check-decagram",
    },
    "passed": {"name": "Passed", "value": "value_json.passed", "state_class": _COUNTS},
    "failed": {"name": "Failed", "value": "value_json.failed", "state_class": _COUNTS},
    "not_inspected": {"name": "Not inspected", "value": "value_json.not_inspected", "state_class": _COUNTS},
    "yield": {
        "name": "Yield",
        "value": "(100 * value_json.passed / value_json.verdicts) | round(1) if value_json.verdicts else None",
        "unit_of_measurement": "%",
        "state_class": "measurement",
    },
    "rejects_missed": {"name": "Rejects missed", "value": "value_json.rejects_missed", "state_class": _COUNTS},
    "last_alarm": {"name": "Last alarm", "topic": "alarm", "value": "value_json.what[:250]", "icon": "mdi:alert"},
    "running": {
        "kind": "binary_sensor",
        "name": "Running",
        "value": "'ON' if value_json.station == 'running' else 'OFF'",
        "device_class": "running",
    },
    "alarm": {
        "kind": "binary_sensor",
        "name": "Alarm",
        "value": "'ON' if value_json.alarm else 'OFF'",
        "device_class": "problem",
    },
}
"""The station's entities; where no topic stands it is `state`."""

KIOSK: Final[dict[str, dict[str, Any]]] = {
    "turns": {"name": "Voice turns", "topic": "kiosk", "value": "value_json.turns", "state_class": _COUNTS},
    "not_understood": {
        "name": "Not understood",
        "topic": "kiosk",
        "value": "value_json.not_understood",
        "state_class": _COUNTS,
    },
    "interrupted": {
        "name": "Interrupted",
        "topic": "kiosk",
        "value": "value_json.interrupted",
        "state_class": _COUNTS,
    },
    "failed_turns": {"name": "Failed turns", "topic": "kiosk", "value": "value_json.failed", "state_class": _COUNTS},
    "reply_ms": {
        "name": "Last reply after",
        "topic": "kiosk",
        "value": "value_json.reply_ms",
        "unit_of_measurement": "ms",
        "device_class": "duration",
        "state_class": "measurement",
    },
}
"""The kiosk's, all of them on its topic."""


def announcements(
    discovery: str, prefix: str, station: str, version: str, entities: dict[str, dict[str, Any]]
) -> tuple[tuple[str, str], ...]:
    """The messages that announce these entities: topic and payload, to be retained.

    `discovery` is the prefix that Home Assistant listens under, `prefix` that of our own topics, `station` the device's name.
    """
    node = re.sub(r"[^A-Za-z0-9_-]", "_", station) or "edgeapp"
    device = {"identifiers": [f"edgeapp_{node}"], "name": station, "manufacturer": "edgeapp", "sw_version": version}
    origin = {"name": "edgeapp", "sw_version": version}
    found = []
    for entity, about in entities.items():
        words = {key: value for key, value in about.items() if key not in {"kind", "topic", "value"}}
        words |= {
            "unique_id": f"edgeapp_{node}_{entity}",
            "state_topic": f"{prefix}/{about.get('topic', 'state')}",
            "value_template": f"{{{{ {about['value']} }}}}",
            "availability_topic": f"{prefix}/status",
            "device": device,
            "origin": origin,
        }
        found.append((f"{discovery}/{about.get('kind', 'sensor')}/{node}/{entity}/config", json.dumps(words)))
    return tuple(found)
