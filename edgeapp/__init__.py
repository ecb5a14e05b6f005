"""edgeapp: hear, answer and see in real time on a small device.

A newcomer's reading order, the main path from the outside in:

1. `cli.py`                what a person can type
2. `apps/kiosk.py`         the wiring of a voice kiosk; `apps/qc.py` that of a quality-control station
3. `voice/conversation.py` one conversation: listen, answer, stop answering when spoken over
4. `vision/inspection.py`  one camera: exactly one verdict a part, by its due time
5. `core/stage.py`         one step of work that can run here or there
6. `core/placement.py`     where one call runs, and the last safe moment for local
7. `core/lane.py`          one accelerator, and promises about its future
8. `engines/`, `devices/`  the only files that know models and hardware
"""

__version__ = "0.1.0"
