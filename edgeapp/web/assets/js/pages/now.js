// Now: the newest picture with its boxes, the verdict large, and what is being said.

import { fill, h, svg, text } from "../dom.js";
import { count, ms, tone, words } from "../format.js";

export const title = "Now";
export const topics = ["verdicts", "captions", "turns", "pictures"];

const DOING = { asleep: "Asleep", listening: "Listening", hearing: "Somebody speaks", thinking: "Thinking", speaking: "Speaking" };

export function open(root, { who }) {
  const cameras = new Map();
  const place = h("div", { class: "cameras" }, h("figure", { class: "camera" }, h("figcaption", {}, "No picture yet")));
  const verdict = verdictPanel();
  const talk = talkPanel();
  const side = h("div", { class: "side" }, who.station && verdict.node, who.kiosk && talk.node);
  root.append(h("h1", { class: "hidden" }, "Now"), h("div", { class: who.station ? "now" : "now voice-only" }, who.station && place, side));

  async function picture(header, blob) {
    if (!who.station) return;
    const bitmap = await createImageBitmap(blob);
    if (!cameras.has(header.source)) {
      if (!cameras.size) fill(place);
      const made = cameraFigure(header.source);
      cameras.set(header.source, made);
      place.append(made.node);
    }
    cameras.get(header.source).show(header, bitmap);
  }

  return {
    picture,
    update(state) {
      if (state.verdicts) verdict.update(state.verdicts);
      if (state.captions) talk.update(state.captions, state.turns);
    },
  };
}

function cameraFigure(source) {
  const canvas = h("canvas", { role: "img", "aria-label": `Picture of ${source}` });
  const boxes = svg("svg", { class: "boxes", "aria-hidden": "true" });
  const number = h("span", { class: "num" });
  const node = h("figure", { class: "camera" }, canvas, boxes, h("figcaption", {}, h("b", {}, source), number));
  return {
    node,
    show(header, bitmap) {
      canvas.width = bitmap.width;
      canvas.height = bitmap.height;
      canvas.getContext("2d").drawImage(bitmap, 0, 0);
      bitmap.close();
      boxes.setAttribute("viewBox", `0 0 ${header.width} ${header.height}`);
      fill(boxes, drawBoxes(header.parts, header.defects, header.width, header.height, header.outcome === "FAIL"));
      text(number, `part ${header.number}`);
    },
  };
}

// Each box is a rectangle; a defect that fails the part has its name, kept inside the picture.
export function drawBoxes(parts, defects, width, height, bad) {
  const frame = ([left, top, right, bottom], kind) => svg("rect", { class: `box ${kind}`, x: left, y: top, width: Math.max(1, right - left), height: Math.max(1, bottom - top), rx: 3 });
  const named = ([left, top, , bottom, label, score]) => {
    const name = `${label.replaceAll("_", " ")} ${score.toFixed(2)}`;
    const size = Math.max(width, height) / 30; // in pixels of the frame, so that it looks the same at every size
    const x = Math.max(size / 3, Math.min(left, width - 0.6 * size * name.length));
    const y = top > 1.6 * size ? top - 0.5 * size : Math.min(height - size / 3, bottom + 1.2 * size);
    return svg("text", { class: "box-label", x, y, style: { "font-size": `${size}px`, "stroke-width": `${size / 3}px` } }, name);
  };
  return [...parts.map((each) => frame(each, "part")), ...defects.map((each) => frame(each, bad ? "defect" : "part")), ...(bad ? defects.map(named) : [])];
}

function verdictPanel() {
  const says = h("strong", {}, "–");
  const why = h("span", { class: "why" });
  const took = h("span", { class: "took" });
  const block = h("section", { class: "verdict", "aria-label": "Verdict", "aria-live": "off" }, says, why, took);
  const figures = {};
  const list = h("dl", { class: "figures" }, ["passed", "failed", "not inspected", "late"].map((name) => {
    figures[name] = h("dd", {}, "0");
    return h("div", {}, h("dt", {}, name), figures[name]);
  }));
  const strip = h("div", { class: "strip", "aria-hidden": "true" });
  const node = h("div", { class: "grid" }, block, h("section", { class: "panel" }, h("h2", {}, "Since the start"), list, strip));
  return {
    node,
    update(now) {
      const newest = Object.values(now.newest).sort((one, other) => other.utc_ms - one.utc_ms)[0];
      if (newest) {
        block.className = `verdict ${tone(newest.outcome)}`;
        says.className = newest.outcome.length > 4 ? "long" : "";
        text(says, words(newest.outcome));
        text(why, newest.why.replaceAll("_", " "));
        text(took, `${newest.source} ${newest.number} · ${ms(newest.took_ms)} of ${ms(now.budget_ms)}`);
      }
      text(figures.passed, count(now.passed));
      text(figures.failed, count(now.failed));
      text(figures["not inspected"], count(now.not_inspected));
      text(figures.late, count(now.late));
      fill(strip, now.last.map(([outcome]) => h("i", { class: tone(outcome) })));
    },
  };
}

function talkPanel() {
  const dot = h("span", { class: "pulse" });
  const doing = h("span", {});
  const last = h("span", { class: "dim small num" });
  const theirs = h("blockquote", { class: "theirs" });
  const ours = h("blockquote", { class: "ours" });
  const node = h("section", { class: "panel talk", "aria-label": "Conversation" },
    h("div", { class: "doing" }, dot, doing, h("span", { class: "row push" }, last)), theirs, ours);
  return {
    node,
    update(now, turns) {
      dot.className = `pulse ${now.doing}`;
      text(doing, now.voice ? DOING[now.doing] : "No voice is open");
      text(theirs, now.heard ? `“${now.heard}”` : "");
      text(ours, now.said);
      const row = turns?.rows[0];
      text(last, row ? `${row.took_ms === null ? row.outcome : ms(row.took_ms)} of ${ms(turns.budget_ms)}` : "");
    },
  };
}
