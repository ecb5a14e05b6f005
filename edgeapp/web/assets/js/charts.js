// Three charts, drawn by hand: a control chart, a Pareto chart, a line of recent values.

import { svg } from "./dom.js";
import { clock, day, percent } from "./format.js";

const WIDTH = 860;

function chart(height, label, ...children) {
  return svg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": label }, ...children);
}

function niceTop(value) {
  if (!(value > 0)) return 0.01;
  const step = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((each) => each * step).find((each) => each >= value * 0.999);
}

// Share of rejects a stretch, three-sigma limits for its size, a ring where a rule fired.
export function controlChart({ points, centre, every_min }, height = 270) {
  const left = 46, right = WIDTH - 8, top = 14, bottom = height - 26;
  const highest = niceTop(Math.max(...points.flatMap((each) => [each.share, Math.min(each.high, 3 * centre + 0.02)])) * 1.08);
  const x = (n) => (points.length < 2 ? (left + right) / 2 : left + ((right - left) * n) / (points.length - 1));
  const y = (value) => bottom - ((bottom - top) * Math.min(value, highest)) / highest;
  const digits = Number.isInteger(Math.round(highest * 5000) / 100) ? 0 : Number.isInteger(Math.round(highest * 50000) / 100) ? 1 : 2; // so that the middle tick is what it says
  const half = points.length < 2 ? 40 : (right - left) / (points.length - 1) / 2;
  const stairs = (key) => points.map((each, n) => `${n ? "L" : "M"}${Math.max(left, x(n) - half)} ${y(each[key])}L${Math.min(right, x(n) + half)} ${y(each[key])}`).join("");
  const ticks = [0, highest / 2, highest];
  const every = Math.max(1, Math.ceil(points.length / 8));
  const alarms = points.filter((each) => each.alarms.length).length;
  const label = `Control chart of rejects, ${points.length} stretches of ${every_min} minutes, centre ${percent(centre, 2)}, ${alarms} with an alarm`;
  return chart(height, label,
    ticks.map((each) => [svg("line", { class: "axis", x1: left, x2: right, y1: y(each), y2: y(each) }), svg("text", { x: left - 8, y: y(each) + 4, "text-anchor": "end" }, percent(each, digits))]).flat(),
    svg("line", { class: "centre", x1: left, x2: right, y1: y(centre), y2: y(centre) }),
    svg("path", { class: "limit", d: stairs("high") }),
    points.some((each) => each.low > 0) && svg("path", { class: "limit", d: stairs("low") }),
    svg("path", { class: "series", d: points.map((each, n) => `${n ? "L" : "M"}${x(n)} ${y(each.share)}`).join("") }),
    points.map((each, n) => {
      const mark = svg("circle", { class: each.alarms.length ? "alarm" : "point", cx: x(n), cy: y(each.share), r: each.alarms.length ? 5.5 : 2.6 });
      mark.append(svg("title", {}, `${clock(each.utc_ms)}: ${percent(each.share, 2)} of ${each.size}${each.alarms.length ? `, ${each.alarms.join("; ")}` : ""}`));
      return mark;
    }),
    points.map((each, n) => n % every === 0 && svg("text", { x: x(n), y: height - 6, "text-anchor": n === 0 ? "start" : "middle" }, points.length * every_min > 2880 ? day(each.utc_ms) : clock(each.utc_ms).slice(0, 5))));
}

// Parts by cause, most first, and the cumulated share as a line.
export function paretoChart(bars, height = 270) {
  const shown = bars.slice(0, 8);
  const left = 46, right = WIDTH - 46, top = 24, bottom = height - 30;
  const total = bars.reduce((sum, each) => sum + each.parts, 0);
  const step = (right - left) / shown.length;
  const y = (parts) => bottom - ((bottom - top) * parts) / total;
  const label = `Pareto chart: ${shown.map((each) => `${each.cause} ${each.parts}`).join(", ")}`;
  return chart(height, label,
    [0, 0.5, 1].map((each) => [svg("line", { class: "axis", x1: left, x2: right, y1: y(each * total), y2: y(each * total) }), svg("text", { x: right + 8, y: y(each * total) + 4 }, percent(each, 0)), svg("text", { x: left - 8, y: y(each * total) + 4, "text-anchor": "end" }, String(Math.round(each * total)))]).flat(),
    shown.map((each, n) => [
      svg("rect", { class: "bar-fill", x: left + n * step + step * 0.16, y: y(each.parts), width: step * 0.68, height: Math.max(1, bottom - y(each.parts)), rx: 4 }),
      svg("text", { class: "ink", x: left + (n + 0.5) * step, y: y(each.parts) - 7, "text-anchor": "middle" }, String(each.parts)),
      svg("text", { x: left + (n + 0.5) * step, y: height - 9, "text-anchor": "middle" }, each.cause.replaceAll("_", " ")),
    ]).flat(),
    svg("path", { class: "cumulated", d: shown.map((each, n) => `${n ? "L" : "M"}${left + (n + 0.5) * step} ${y(each.cumulated * total)}`).join("") }));
}

// The last values, oldest left.
export function spark(values, label, height = 60) {
  const highest = Math.max(...values, 1e-9);
  const x = (n) => (values.length < 2 ? WIDTH : (WIDTH * n) / (values.length - 1));
  return chart(height, label, svg("path", { class: "series", d: values.map((each, n) => `${n ? "L" : "M"}${x(n)} ${height - 4 - ((height - 8) * each) / highest}`).join("") }));
}
