"""Train the QC detector from scratch: `python scripts/train_qc.py --data DIR --out models/qc-yolo11n`.

DIR is what `make_qc_images.py` wrote. Trains YOLO11n by ultralytics (AGPL-3.0) at 320 px, then writes to --out: the ONNX file
(raw head, no NMS inside, any size), the weights to train on from (qc-yolo11n.pt) and the learning curve as PNG. Needs the extra `train`
(torch, ultralytics, onnx). The run lives in --run; started again with the same --run it goes on where it stopped. Uses
a GPU if there is one, else one CPU thread with bfloat16 where the processor has it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("YOLO_AUTOINSTALL", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

SIZE_PX = 320
SMALL_PX = 224
LEARNING_RATE = 0.002
FINE_RATE = 0.001
"""Highest learning rate from random weights and from trained ones (--weights)."""


def enable_bfloat16_on_cpu() -> bool:
    """Let DetectionModel's training passes run in bfloat16 on a CPU that multiplies it natively (about half the time).

    ultralytics allows bfloat16 on CUDA only, so the class's `predict` is wrapped; losses stay in float32.
    """
    import torch
    from ultralytics.nn.tasks import DetectionModel

    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    if torch.cuda.is_available() or not ("avx512_bf16" in flags or "amx_bf16" in flags):
        return False
    plain = DetectionModel.predict

    def predict(self: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        if not self.training:
            return plain(self, x, *args, **kwargs)
        with torch.autocast("cpu", torch.bfloat16):
            parts = plain(self, x.contiguous(memory_format=torch.channels_last), *args, **kwargs)
        return {name: value.float() if torch.is_tensor(value) else value for name, value in parts.items()}

    DetectionModel.predict = predict
    return True


def another_light(pictures: Any) -> Any:
    """Give each picture (float32 Nx3xHxW, 0 to 1) a lamp of another colour, from another side, as augmentation."""
    import torch

    count, _, height, width = pictures.shape
    colour = torch.exp(torch.randn(count, 3, 1, 1) * 0.12)
    turn = torch.rand(count, 1, 1) * 2 * math.pi
    fade = torch.rand(count, 1, 1) * 0.35
    x, y = torch.linspace(-1, 1, width).view(1, 1, -1), torch.linspace(-1, 1, height).view(1, -1, 1)
    slope = 1 + fade * (x * torch.cos(turn) + y * torch.sin(turn))
    return (pictures * (colour * slope[:, None]).to(pictures.device)).clamp(0, 1)


def paced_trainer(run: Path, hours: float | None, fine: bool, highest: float) -> type[Any]:
    """A trainer whose learning rate and picture size follow the share of the run that is done.

    The share is of the hours asked for (all starts together), else of the epochs. From random weights the first 40 %
    see pictures of 224 px, which cost half (progressive resizing); `fine` (from trained weights) sees 320 px only. The
    rate warms up to `highest` over 2 % and falls as a cosine to 1 % of it at the end.
    """
    import torch
    from ultralytics.models.yolo.detect import DetectionTrainer

    class PacedTrainer(DetectionTrainer):  # type: ignore[misc]
        spent_s = read_notes(run)["wall_s"]
        begun_s = time.monotonic()
        steps = 0

        def share_done(self) -> float:
            if hours is not None:
                return min(1.0, (self.spent_s + time.monotonic() - self.begun_s) / (hours * 3600))
            return min(1.0, (self.start_epoch + self.steps / len(self.train_loader)) / self.epochs)

        def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
            batch = super().preprocess_batch(batch)
            batch["img"] = another_light(batch["img"])
            if not fine and self.share_done() < 0.4:
                batch["img"] = torch.nn.functional.interpolate(
                    batch["img"], size=(SMALL_PX, SMALL_PX), mode="bilinear", align_corners=False
                )
            return batch

        def optimizer_step(self) -> None:
            done = self.share_done()
            rate = highest * min(done / 0.02, 0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * done)))
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            super().optimizer_step()
            self.steps += 1
            self.stop = self.stop or (hours is not None and done >= 1.0)

        def save_model(self) -> Any:
            saved = super().save_model()
            notes = read_notes(run) | {"wall_s": round(self.spent_s + time.monotonic() - self.begun_s)}
            (run / "notes.json").write_text(json.dumps(notes, indent=1))
            return saved

    return PacedTrainer


def read_notes(run: Path) -> dict[str, Any]:
    """The run's notes so far: wall time over all starts, machine and precision."""
    notes = run / "notes.json"
    if notes.is_file():
        return dict(json.loads(notes.read_text()))
    return {"wall_s": 0}


def train(args: argparse.Namespace) -> Path:
    """Train or resume; returns the run's folder. Raises SystemExit with one sentence when the data is not there."""
    import torch
    from ultralytics import YOLO

    data = args.data / "qc.yaml"
    if not data.is_file():
        raise SystemExit(f"{data} is missing: write it with scripts/make_qc_images.py --out {args.data}")
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    bfloat16 = enable_bfloat16_on_cpu()
    gpu = torch.cuda.is_available()
    last = args.run / "weights" / "last.pt"
    if last.is_file() and not args.smoke:
        if torch.load(last, map_location="cpu", weights_only=False)["epoch"] < 0:
            print(f"{args.run} is finished: exporting it again; to train on, give another --run and --weights")
            return Path(args.run)
        model = YOLO(last)
        settings: dict[str, Any] = {"resume": True}
    else:
        model = YOLO(args.weights or "yolo11n.yaml")
        settings = training_settings(args, gpu)
    if bfloat16:
        model.add_callback(
            "on_pretrain_routine_end", lambda trainer: trainer.model.to(memory_format=torch.channels_last)
        )
    note_machine(args.run, gpu, bfloat16)
    model.train(
        trainer=paced_trainer(args.run, args.hours, args.weights is not None, args.rate),
        data=str(data.resolve()),
        **settings,
    )
    return Path(args.run)


def training_settings(args: argparse.Namespace, gpu: bool) -> dict[str, Any]:
    """What ultralytics is told. No mosaic: the renderer composes whole scenes, and mosaic shrinks the defects."""
    return {
        "imgsz": SIZE_PX,
        "epochs": 1 if args.smoke else args.epochs if args.hours is None else 10_000,
        "batch": 16,
        "nbs": 16,
        "optimizer": "AdamW",
        "lr0": LEARNING_RATE,
        "warmup_epochs": 0,
        "weight_decay": 0.0005,
        "mosaic": 0.0,
        "close_mosaic": 0,
        "scale": 0.15,
        "translate": 0.08,
        "fliplr": 0.5,
        "flipud": 0.5,
        "hsv_h": 0.04,
        "hsv_s": 0.5,
        "hsv_v": 0.3,
        "amp": "bf16" if gpu else False,
        "device": 0 if gpu else "cpu",
        "workers": 8 if gpu else 0,
        "seed": args.seed,
        "deterministic": True,
        "plots": False,
        "project": str(args.run.resolve().parent),
        "name": args.run.name,
        "exist_ok": True,
        "patience": 1000,
    }


def note_machine(run: Path, gpu: bool, bfloat16: bool) -> None:
    """Write down what the run computes on, for the card."""
    machine = f"{os.cpu_count()} CPU cores ({cpu_name()})" + (", one GPU" if gpu else ", no GPU")
    precision = "bfloat16 passes, float32 loss and weights" if bfloat16 or gpu else "float32"
    run.mkdir(parents=True, exist_ok=True)
    notes = read_notes(run) | {"machine": machine, "precision": precision}
    (run / "notes.json").write_text(json.dumps(notes, indent=1))


def cpu_name() -> str:
    """The processor's name as Linux gives it, else the architecture."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def draw_curve(run: Path, out: Path) -> None:
    """Draw mAP and the three losses over the epochs from the run's results.csv."""
    import csv

    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    with (run / "results.csv").open() as file:
        rows = [{key.strip(): float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    epochs = [row["epoch"] for row in rows]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), dpi=100)
    for key, name in (("metrics/mAP50(B)", "mAP50"), ("metrics/mAP50-95(B)", "mAP50-95")):
        left.plot(epochs, [row[key] for row in rows], marker=".", label=name)
    left.set(xlabel="epoch", title="validation set", ylim=(0, 1))
    for key in ("box_loss", "cls_loss", "dfl_loss"):
        right.plot(epochs, [row[f"train/{key}"] for row in rows], label=key)
    right.set(xlabel="epoch", title="training loss")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.tight_layout()
    figure.savefig(out / "learning-curve.png")


def export(run: Path, out: Path) -> Path:
    """Write the run's best weights as qc-yolo11n.onnx: float32, height and width free, raw head, opset 17.

    The file serves 320 and 640 px alike: ONNX Runtime folds the sizes away when the engine pins them, and gives the
    static export's numbers in the static export's time.
    """
    import onnx
    from ultralytics import YOLO

    best = run / "weights" / "best.pt"
    if not best.is_file():
        raise SystemExit(f"{best} is missing: train first")
    written = YOLO(best).export(format="onnx", imgsz=SIZE_PX, opset=17, nms=False, simplify=False, dynamic=True)
    target = out / "qc-yolo11n.onnx"
    out.mkdir(parents=True, exist_ok=True)
    graph = onnx.load(written)
    for entry in graph.metadata_props:
        if entry.key == "description":
            # ultralytics writes the data set's path on this machine here.
            entry.value = "YOLO11n trained on rendered washers and brackets (edgeapp, scripts/train_qc.py)"
    onnx.save(graph, target)
    return target


def keep_weights(run: Path, out: Path) -> None:
    """Write the run's best weights as qc-yolo11n.pt (float16, no optimizer, no paths of this machine) for --weights."""
    import torch

    best = torch.load(run / "weights" / "best.pt", map_location="cpu", weights_only=False)
    model = (best.get("ema") or best["model"]).half()
    local = {"data", "project", "name", "save_dir", "model", "resume"}
    settings = {key: value for key, value in best["train_args"].items() if key not in local}
    model.args = settings
    model.yaml_file = model.yaml["yaml_file"] = "yolo11n.yaml"
    model.criterion = None
    vars(model).pop("pt_path", None)
    kept = {key: best[key] for key in ("date", "version", "license", "docs")}
    torch.save(kept | {"epoch": -1, "model": model, "train_args": settings}, out / "qc-yolo11n.pt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder written by make_qc_images.py")
    parser.add_argument("--out", type=Path, required=True, help="folder for the model and its figures")
    parser.add_argument("--run", type=Path, help="folder of the training run (default DATA/run)")
    parser.add_argument("--weights", type=Path, help="start from these weights (qc-yolo11n.pt), not from scratch")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--hours", type=float, help="stop after this time instead of --epochs")
    parser.add_argument(
        "--rate", type=float, help=f"highest learning rate ({LEARNING_RATE}, with --weights {FINE_RATE})"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--export-only", action="store_true", help="no training: export the run's best weights so far")
    parser.add_argument(
        "--smoke", action="store_true", help="one epoch on what --data holds (make it with --smoke too)"
    )
    args = parser.parse_args()
    args.run = args.run or args.data / "run"
    args.rate = args.rate or (FINE_RATE if args.weights else LEARNING_RATE)
    if not args.export_only:
        train(args)
    written = export(args.run, args.out)
    keep_weights(args.run, args.out)
    draw_curve(args.run, args.out)
    print(json.dumps({"model": str(written), "bytes": written.stat().st_size}), file=sys.stdout)


if __name__ == "__main__":
    main()
