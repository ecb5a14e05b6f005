"""What the kernel says of heat and power."""

from __future__ import annotations

from pathlib import Path

from edgeapp.observe.vitals import Vitals


def _file(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def test_a_jetsons_zones_and_rails_are_named_in_degrees_and_watts(tmp_path: Path) -> None:
    _file(tmp_path, "sys/class/thermal/thermal_zone0/type", "cpu-thermal")
    _file(tmp_path, "sys/class/thermal/thermal_zone0/temp", "51500")
    _file(tmp_path, "sys/class/hwmon/hwmon3/name", "ina3221")
    _file(tmp_path, "sys/class/hwmon/hwmon3/in1_input", "19080")
    _file(tmp_path, "sys/class/hwmon/hwmon3/in1_label", "VDD_IN")
    _file(tmp_path, "sys/class/hwmon/hwmon3/curr1_input", "380")
    _file(tmp_path, "sys/class/hwmon/hwmon4/name", "amdgpu")
    _file(tmp_path, "sys/class/hwmon/hwmon4/power1_input", "12500000")
    _file(tmp_path, "proc/self/statm", "9000 2500 700 1 0 500 0")
    seen = Vitals(tmp_path).look()
    assert seen["temperatures_c"] == {"cpu-thermal": 51.5}
    assert seen["power_w"] == {"amdgpu power1": 12.5, "VDD_IN": 7.25}
    assert seen["rss_mb"] == 10


def test_a_sensor_that_goes_away_is_left_out(tmp_path: Path) -> None:
    _file(tmp_path, "sys/class/thermal/thermal_zone0/temp", "40000")
    vitals = Vitals(tmp_path)
    assert vitals.look()["temperatures_c"] == {"thermal_zone0": 40.0}
    (tmp_path / "sys/class/thermal/thermal_zone0/temp").unlink()
    assert vitals.look()["temperatures_c"] == {}
    assert vitals.look()["rss_mb"] == 0
