"""What a client asks of a Realtime session or a response, in the device's own terms; what cannot be done is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from edgeapp.core.events import MS
from edgeapp.voice import patience
from edgeapp.voice.endpoint import EndpointRule
from edgeapp.web.openai_wire import Refused
from edgeapp.web.realtime_events import INSTRUCTIONS_MAX, Format, ResponseWanted, SemanticVad, ServerVad, Wanted
from edgeapp.web.realtime_formats import FORMATS, SoundFormat

_EAGERNESS: Final = {"low": "relaxed", "medium": "default", "high": "aggressive", "auto": "default"}


def format_of(wanted: Format | None) -> SoundFormat | None:
    """The format that a client names, if it names one."""
    return None if wanted is None else FORMATS[str(wanted.__struct_config__.tag)]


def check(where: str, wanted: Wanted | ResponseWanted) -> None:
    """What a session and a response can both ask for. Raises Refused."""
    if wanted.tools:
        said = "tools are not served: the replies of this device come from its content"
        raise Refused(said, param=f"{where}.tools", code="unsupported_parameter")
    if wanted.output_modalities is not None and len(wanted.output_modalities) != 1:
        said = 'output_modalities is ["audio"] or ["text"]'
        raise Refused(said, param=f"{where}.output_modalities", code="invalid_value")
    if wanted.instructions is not None and len(wanted.instructions) > INSTRUCTIONS_MAX:
        said = f"instructions have at most {INSTRUCTIONS_MAX:,} characters"
        raise Refused(said, param=f"{where}.instructions", code="too_large")


def ruled(rule: EndpointRule, detection: ServerVad | SemanticVad) -> EndpointRule:
    """The device's rule with what a client asks of it. Raises Refused."""
    if isinstance(detection, SemanticVad):
        return replace(rule, patience=patience.preset(_EAGERNESS[detection.eagerness or "auto"]))
    where = "session.audio.input.turn_detection"
    bounds = (("threshold", 0.1, 0.95), ("prefix_padding_ms", 32, 2_000), ("silence_duration_ms", 48, 3_000))
    for name, low, high in bounds:
        value = getattr(detection, name)
        if value is not None and not low <= value <= high:
            raise Refused(f"{name} must be {low} to {high}", param=f"{where}.{name}", code="invalid_value")
    threshold = detection.threshold or rule.threshold
    pre_roll_ns = (detection.prefix_padding_ms or rule.pre_roll_ns // MS) * MS
    patient = rule.patience
    if detection.silence_duration_ms is not None:
        least_ns = detection.silence_duration_ms * MS
        most_ns = max(patient.at_most_ns, least_ns)
        patient = replace(patient, at_least_ns=least_ns, at_most_ns=most_ns, whole_ns=max(patient.whole_ns, least_ns))
    stop = min(rule.stop_threshold, threshold)
    return replace(rule, threshold=threshold, stop_threshold=stop, pre_roll_ns=pre_roll_ns, patience=patient)
