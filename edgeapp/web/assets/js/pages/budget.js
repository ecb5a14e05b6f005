// Budget: where the milliseconds of the last turns and frames went, where each stage ran and why, and the links' weather.

import { spark } from "../charts.js";
import { fill, h } from "../dom.js";
import { ms, percent, tone } from "../format.js";

export const title = "Budget";
export const topics = ["turns", "frames", "stages", "links"];

const TURN_PARTS = [["endpoint", "endpoint"], ["stt", "words"], ["llm", "answer"], ["clause", "first clause"], ["tts", "voice"], ["output", "output"], ["own", "own"]];
const FRAME_PARTS = [["wait", "waiting"], ["detect", "detector"], ["again", "second look"], ["own", "own"]];

export function open(root, { who }) {
  const turns = h("div", {});
  const frames = h("div", {});
  const stages = h("div", { class: "scroll" });
  const links = h("div", {});
  root.append(
    h("h1", { class: "hidden" }, "Budget"),
    h("div", { class: "grid two" },
      who.kiosk && h("section", { class: "panel" }, h("h2", {}, "Turns: last voiced sample to first audible one"), legend(TURN_PARTS), turns),
      who.station && h("section", { class: "panel" }, h("h2", {}, "Frames: sensor’s timestamp to verdict"), legend(FRAME_PARTS), frames),
      h("section", { class: "panel" }, h("h2", {}, "Where stages run, over their last 200 calls"), stages),
      h("section", { class: "panel" }, h("h2", {}, "Links"), links)));
  let shown = {};
  return {
    update(state) {
      for (const [name, node, draw] of [["turns", turns, waterfall], ["frames", frames, waterfall], ["stages", stages, stageTable], ["links", links, weather]]) {
        if (state[name] && state[name] !== shown[name]) fill(node, draw(state[name]));
      }
      shown = state;
    },
  };
}

function legend(parts) {
  return h("ul", { class: "legend" }, parts.map(([name, says]) => h("li", {}, h("i", { class: `s-${name}` }), says)), h("li", {}, h("i", { class: "due" }), "budget"));
}

function waterfall({ budget_ms, rows }) {
  if (!rows.length) return h("p", { class: "empty" }, "Nothing yet.");
  const longest = Math.max(budget_ms * 1.05, ...rows.slice(0, 8).map((row) => Math.min(row.took_ms ?? 0, 4 * budget_ms)));
  const share = (value) => `${(100 * Math.max(0, value)) / longest}%`;
  const track = (row) => h("div", { class: "track", role: "img", "aria-label": row.spans.map(([name, from, to]) => `${name} ${Math.round(to - from)} ms`).join(", "), style: { "--budget": share(budget_ms) } },
    row.spans.filter(([, from, to]) => to > from).map(([name, from, to]) => h("i", { class: `s-${name}`, title: `${name} ${Math.round(to - from)} ms`, style: { left: share(Math.min(from, longest)), width: share(Math.min(to, longest) - from) } })),
    (row.staged ?? []).filter(([, , to]) => to > 0).map(([name, from, to]) => h("i", { class: `early s-${name}`, title: `${name}, ahead of the turn’s end`, style: { left: share(from), width: share(Math.min(to, longest) - Math.max(from, 0)) } })));
  return h("div", { class: "waterfall" }, rows.slice(0, 8).flatMap((row) => [
    h("span", { class: "name" }, row.name),
    track(row),
    h("span", { class: `took ${row.took_ms !== null && row.took_ms <= budget_ms ? "pass" : "fail"}` }, row.took_ms === null ? row.outcome : ms(row.took_ms)),
    h("span", { class: "where", title: row.end_why ? `taken for finished: ${row.end_why}` : "" }, whereAndWhy(row)),
  ]));
}

// Stages that ran at one place for one reason are named together.
function whereAndWhy(row) {
  const places = new Map();
  for (const each of row.where) {
    const says = each.side === "none" ? each.error || "no answer" : `${each.side}, ${each.why}`;
    places.set(says, [...(places.get(says) ?? []), each.stage]);
  }
  const parts = [...places].map(([says, stages]) => `${stages.join(", ")}: ${says}`);
  if (row.foreseen) parts.unshift("prepared ahead");
  if (row.opener) parts.unshift("opener first");
  return parts.join(" · ");
}

function stageTable(stages) {
  const rows = Object.entries(stages);
  if (!rows.length) return h("p", { class: "empty" }, "No stage was called yet.");
  return h("table", {},
    h("thead", {}, h("tr", {}, ["stage", "p50", "p95", "bound", "remote", "failed"].map((name, n) => h("th", { class: n ? "r" : "", scope: "col" }, name)), h("th", { scope: "col" }, "why there"))),
    h("tbody", {}, rows.map(([name, each]) => h("tr", {},
      h("td", {}, h("b", {}, name)), h("td", { class: "r" }, ms(each.p50_ms)), h("td", { class: "r" }, ms(each.p95_ms)), h("td", { class: "r" }, ms(each.bound_ms)),
      h("td", { class: "r" }, percent(each.remote / each.calls, 0)), h("td", { class: `r ${each.errors ? "fail" : ""}` }, String(each.errors)),
      h("td", { class: "dim" }, Object.entries(each.whys).map(([why, times]) => `${why} ${times}`).join(", "))))));
}

function weather(links) {
  const rows = Object.entries(links);
  if (!rows.length) return h("p", { class: "empty" }, "No stage may run elsewhere: everything is on this device.");
  return h("div", { class: "grid" }, rows.map(([name, each]) => h("div", {},
    h("div", { class: "row" }, h("h3", {}, name), h("span", { class: `chip ${each.open ? tone("FAIL") : ""}` }, each.open ? "breaker open" : "breaker closed"), each.trust < 1 && h("span", { class: "chip" }, `trusted again to ${percent(each.trust, 0)}`)),
    each.answers
      ? [h("dl", { class: "figures" }, [["round trip", ms(each.p50_ms)], ["p95", ms(each.p95_ms)], ["jitter", ms(each.jitter_ms)]].map(([key, value]) => h("div", {}, h("dt", {}, key), h("dd", {}, value)))), spark(each.last_ms, `Last round trips to ${name}, up to ${Math.max(...each.last_ms)} ms`)]
      : h("p", { class: "dim" }, "No answer yet."))));
}
