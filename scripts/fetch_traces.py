"""Fetch public traces of mobile links and write them in the format of `edgeapp/near_edge/trace.py`.

    python scripts/fetch_traces.py [--out traces] [5g-driving lte-walking ...]

Source: Ghoshal et al., "An In-Depth Study of Uplink Performance of 5G mmWave Networks", ACM SIGCOMM 5G-MeMU 2022, at one
pinned commit, every file checked by its SHA-256. The repository states no licence, so nothing of it is part of edgeapp:
what you fetch is for your own measurements; cite the paper, and do not pass it on.

A trace's round trips are the study's pings (one every 100 ms). Its uplink is the study's throughput of the same scenario,
several carriers added, laid beside the pings: they were measured on the same route, not in the same seconds. The study has
no downlink, so that column is left out (1,000 Mbit/s).
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.progress import track

COMMIT: Final = "255526a8b067347377016e825090c02ff0fa1315"
BASE: Final = f"https://raw.githubusercontent.com/NUWiNS/sigcomm-5gmemu-5g-mmWave-uplink-data/{COMMIT}/"
LICENCE: Final = "none stated; for your own measurements, not to be passed on"
STEP_S: Final = 0.1
MAX_BYTES: Final = 4_000_000
TIMEOUT_S: Final = 20.0

FILES: Final = """\
43940e1869b91a75e5d0fad3502b17156cd884d0812f7017571c27584387ee1b ping/driving/5g/ping.list
8fe07dd5a6ac2b976ffb6d1e6b80a12f8939dfdb00e2c710d897e180beeaa5ff throughput/driving/5g/throughput.list
f23c472d451ceb3d06f9c93afa6505db7206c69f9d0b6a64c61b4d75103c38b1 ping/driving/lte/ping.list
8f140cfcb6af23d8f21836141290baafa221c3ff2968027a28bd5acccff9a6ac throughput/driving/lte/throughput.list
bcafabaf958ed8a61bb63fe67a89f50b14bb6b64d0c8742a70a15a6facb591ce ping/walking/5g/away.list
4dd778c487b9b27e3f9cc6fee42a0044057aa451eeaf1d367dedb8f78b0afbf3 ping/walking/5g/lateral.list
53d5d0835fefb7cd2bc3c9b465540156cf3efa1117733019b8463ba7f0eea01f ping/walking/5g/toward.list
4174b60a8a79b8eb47f2c0631388dc28b16d723e14036f504f343e7e709d433c throughput/walking/5g/away.list
f4f4aa0dd4ad57b84e5510a3f45e536007219f87ded9a7aafdfa7c43530ef092 throughput/walking/5g/lateral.list
e7947527d3ccbe6366fbf1095adeea3b59f2484d29ece5b16963bf3e2135592a throughput/walking/5g/toward.list
bf68ff4b69cf18055e2cb285c20293de9eee789362efcb3b8014790cd36b04ea ping/walking/lte/away.list
a310d53a1e0027719f99d01a5687a7fe014c59e2e4285b070646f86970c9a2b4 ping/walking/lte/lateral.list
c8ab6bb7821e8c560ca75900a2d39b00d7de3b9ced9cbcb0e052aabc12a6cbcc ping/walking/lte/toward.list
70fb6be82a16e48960d20bd857417052852571d9cff56eebec402260152a2f45 throughput/walking/lte/away.list
2d1fa0c2f04265ba5454eab0aeafeeeacd152ac11d25a8d9012e29bf5b4b56a0 throughput/walking/lte/lateral.list
2153251bb8f122babe4077adc728b965d3390170b73f2d4ced927ae488614808 throughput/walking/lte/toward.list
059725f48c75e3af7925c037bfac266133ad836d7899a2c636732d0aa43eab14 ping/static/5g/away_p1.list
f832a7828c820c24a0f56d085682d555d0cfb0f0d70dc0525d709efabe938d14 ping/static/5g/away_p2.list
c0d4b7ae5e62f7033edb7a63db789bdc130dc52d872a268db06048088f4da824 ping/static/5g/away_p3.list
21b3e60a2f4e7b3db1d3887cce51676592d6c13490c9f00582257824944e0f37 ping/static/5g/toward_p1.list
1bf9c10ebc9b15836c4a670bebca1e5c27c79db4070146394e386fdcdf498bd2 ping/static/5g/toward_p2.list
c2e5f4cd20d6a3d3ab419016ffd8acd74fd9c4cda82d9158fcdae5ae8ce89959 ping/static/5g/toward_p3.list
aa59a3a4b37dc5320dab322790d1bcd703cb04cf38b50986baf07b9066f1c419 throughput/static/5g/away_p1.list
176ad818e8d8e626fafce36206ff8fc738657d20fdfb030bd7643259c8c3f775 throughput/static/5g/away_p2.list
9df5aee0653924354ec0a3f3bb215c2cd1ade7cc08d1f2da3f547ffe7059d3a0 throughput/static/5g/away_p3.list
d4a6ddc11748993242f4f85888114ce3c11f2e19cd3852ead12d7c1456bcd5e9 throughput/static/5g/toward_p1.list
eed71e692e84fb1aaa9827c27bc57d2c1af297bf8288e4b4e56b1f8bf2ec6f74 throughput/static/5g/toward_p2.list
5c5b3115d5baaeeb07403eaa208148d003a7b0cca197f54fe454d1b76d2f1190 throughput/static/5g/toward_p3.list
06d913cc4e35cc693bf313babbb216babeb0cc4f7f010586ee71bd9b42058c40 ping/static/lte/away_p1.list
28e100c676a2e4da352ee0926a3bb8df3e398893e3dde056ecd8793eb81e0082 ping/static/lte/away_p2.list
2fa4686e4a043b8306620ba6d62a5c1e1604d4e718c69900b41db10d40b8ccd7 ping/static/lte/away_p3.list
25868490022cb4525ff32d11c79046b246b1eefabe7e72734aa02167e4a2e06a ping/static/lte/toward_p1.list
95a0ad816e44e88af358590e78db640419ca9041bf54b07c0070c3c774e6e7eb ping/static/lte/toward_p2.list
69fce3afea1ceba382e4d2e65e5198ce3b802d00c0e99c0d25f59e32272da886 ping/static/lte/toward_p3.list
847e9d5e08df9b4a62b1dbabb88ca40bb3151b0d9bbe489a95de5b6d4173aa37 throughput/static/lte/away_p1.list
6a6888a95f9d56d049cd285b7f7cdd126c5c598e60dcb2f345976d84e384ee0c throughput/static/lte/away_p2.list
a6cc1bba5cd09ce8893edaa607e8a43c0eaebe05d37bdebb87f88a858593ec67 throughput/static/lte/away_p3.list
96042acfe68199c9e5b0693edf8e74bee73d8dfcb582ebd555051b17092fd59d throughput/static/lte/toward_p1.list
2e14691c4aad3ed8e7c7f6b68e6cc0017bafc1be4a73bba3eeeb94b273ebe73c throughput/static/lte/toward_p2.list
a622968066fdafda5236b2cd4e42462869eedca6c698ef5be5f3f4230beb71fe throughput/static/lte/toward_p3.list
"""
"""SHA-256 and path of every file."""


class FetchError(Exception):
    """What stopped it, in one sentence."""


def files() -> dict[str, str]:
    """Path -> SHA-256."""
    return {path: sha256 for sha256, path in (line.split() for line in FILES.splitlines())}


def scenarios() -> list[str]:
    """`5g-driving` and so on."""
    return sorted({f"{path.split('/')[2]}-{path.split('/')[1]}" for path in files()})


def fetch(path: str, sha256: str, base: str, cache: Path) -> str:
    """The text of one file, from the cache if it is right there. Raises FetchError."""
    kept = cache / path.replace("/", "_")
    if kept.is_file() and hashlib.sha256(kept.read_bytes()).hexdigest() == sha256:
        return kept.read_text()
    try:
        with urllib.request.urlopen(base + path, timeout=TIMEOUT_S) as answer:
            content: bytes = answer.read(MAX_BYTES + 1)
    except urllib.error.HTTPError as error:
        raise FetchError(f"{base + path} answers {error.code} {error.reason}; is it still there?") from error
    except OSError as error:
        raise FetchError(
            f"cannot reach {base + path} ({error}); without a network use the presets fitted to these traces, such as "
            "--weather 5g-driving"
        ) from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise FetchError(f"{base + path} is not the file of commit {COMMIT[:7]}: its SHA-256 is another one")
    cache.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(content)
    return content.decode()


def runs(text: str) -> list[list[list[float]]]:
    """The runs of a file, each a list of lines of numbers."""
    found: list[list[list[float]]] = []
    for line in text.splitlines():
        if line.startswith("Run"):
            found.append([])
        elif line.strip() and not line.startswith("#"):
            numbers = [float(each) for each in line.split(",") if each.strip()]
            if not found:
                found.append([])
            found[-1].append(numbers)
    return found


def pings_ms(texts: Sequence[str]) -> list[float]:
    """All round trips, run after run."""
    return [each for text in texts for run in runs(text) for line in run for each in line]


def rates_mbps(texts: Sequence[str]) -> list[float]:
    """Uplink every 100 ms: a line is values, or pairs of lines are times and values of one carrier each; carriers add up."""
    rates: list[float] = []
    for run in (run for text in texts for run in runs(text)):
        if len(run) == 1:
            rates += run[0]
            continue
        carriers = list(zip(run[::2], run[1::2], strict=False))
        grid = [0.0] * (1 + max((round(max(times) / STEP_S) for times, _ in carriers if times), default=-1))
        for times, values in carriers:
            for time_s, value in zip(times, values, strict=False):
                grid[round(time_s / STEP_S)] += value
        rates += grid
    return rates


def trace(name: str, rtts_ms: Sequence[float], up_mbps: Sequence[float]) -> str:
    """The trace as CSV: one row a ping; the rates begin again if they end first."""
    lines = [
        f"# {name}: Ghoshal et al., ACM SIGCOMM 5G-MeMU 2022, commit {COMMIT[:7]}; licence: {LICENCE}",
        "time,rtt_ms,up_mbps",
    ]
    for number, rtt_ms in enumerate(rtts_ms):
        lines.append(f"{number * STEP_S:.1f},{rtt_ms:g},{up_mbps[number % len(up_mbps)]:g}")
    return "\n".join(lines) + "\n"


def write(name: str, out: Path, base: str) -> Path:
    """Fetch what one trace is made of and write it. Raises FetchError."""
    radio, scenario = name.split("-")
    texts: dict[str, list[str]] = {"ping": [], "throughput": []}
    wanted = {path: sha256 for path, sha256 in files().items() if path.split("/")[1:3] == [scenario, radio]}
    for path, sha256 in track(wanted.items(), name):
        texts[path.split("/")[0]].append(fetch(path, sha256, base, out / "downloaded"))
    target = out / f"{name}.csv"
    target.write_text(trace(name, pings_ms(texts["ping"]), rates_mbps(texts["throughput"])))
    return target


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(scenarios())}; all if none is given")
    parser.add_argument("--out", type=Path, default=Path("traces"))
    parser.add_argument("--base", default=BASE, help="where the files are")
    chosen = parser.parse_args()
    if unknown := sorted(set(chosen.names) - set(scenarios())):
        print(f"there is no trace {unknown[0]}; there are {', '.join(scenarios())}", file=sys.stderr)
        return 2
    print(f"licence of the traces: {LICENCE}")
    try:
        for name in chosen.names or scenarios():
            print(f"{write(name, chosen.out, chosen.base)} written")
    except FetchError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"cannot write to {chosen.out}: {error.strerror}; give another folder with --out", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
