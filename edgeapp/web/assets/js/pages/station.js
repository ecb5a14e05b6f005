// Station: how good the line is, what is wrong with its rejects, and the evidence, one picture a part.

import { get, post } from "../api.js";
import { controlChart, paretoChart } from "../charts.js";
import { fill, h, svg } from "../dom.js";
import { clock, count, day, ms, percent, tone, words } from "../format.js";
import { goldenPanel, rulesPanel } from "./desk.js";
import { drawBoxes } from "./now.js";
import { shiftRow } from "./shift.js";

export const title = "Station";
export const topics = ["verdicts"];

const SPANS = [["1 h", 1, 1], ["8 h", 8, 15], ["24 h", 24, 60], ["7 d", 168, 360]];
const AGAIN_MS = 15000;

export function open(root, { who }) {
  let span = SPANS[1];
  let filter = { outcome: "FAIL", cause: "" };
  let oldest = null;
  let timer = 0;
  let closed = false;
  const figures = h("dl", { class: "figures" });
  const control = h("div", {});
  const pareto = h("div", {});
  const cards = h("div", { class: "evidence" });
  const more = h("button", { onclick: () => evidence(oldest) }, "Older");
  const dialog = h("dialog", { "aria-label": "Evidence" });
  let reading = 0;
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => cards.querySelector(`[data-key="${reading}"]`)?.focus());
  const spans = h("div", { class: "row", role: "group", "aria-label": "Time" });
  const filters = h("div", { class: "row", role: "group", "aria-label": "Which parts" });
  root.append(
    h("div", { class: "row", style: { "margin-bottom": "var(--gap)" } }, h("h1", {}, "Station"), h("span", { class: "push" }), spans),
    h("div", { class: "grid" },
      h("section", { class: "panel", "aria-label": "Figures" }, shiftRow(who), figures),
      h("div", { class: "grid two" },
        h("section", { class: "panel" }, h("h2", {}, "Rejects of inspected parts, with their three-sigma limits"), control),
        h("section", { class: "panel" }, h("h2", {}, "What the rejects have"), pareto)),
      h("section", { class: "panel" }, h("div", { class: "row", style: { "margin-bottom": "0.9rem" } }, h("h2", {}, "Evidence"), h("span", { class: "push" }), filters), cards, h("div", { class: "row", style: { "margin-top": "1rem" } }, more)),
      (who.golden || who.rules) && h("div", { class: "grid two" }, who.golden && goldenPanel(who), who.rules && rulesPanel(who, show))),
    dialog);

  function buttons() {
    fill(spans, SPANS.map((each) => h("button", { "aria-pressed": String(each === span), onclick: () => { span = each; buttons(); summary(); } }, each[0])));
    fill(filters, [["Rejects", "FAIL"], ["Not inspected", "NOT_INSPECTED"], ["Passed", "PASS"], ["All", ""]].map(([says, outcome]) =>
      h("button", { "aria-pressed": String(filter.outcome === outcome), onclick: () => { filter = { outcome, cause: "" }; buttons(); evidence(); } }, says)),
    filter.cause && h("button", { "aria-pressed": "true", onclick: () => { filter.cause = ""; buttons(); evidence(); } }, `${filter.cause} ×`));
  }

  async function summary() {
    clearTimeout(timer);
    try {
      const now = await get(`/api/station/summary?hours=${span[1]}&every_min=${span[2]}`);
      if (closed) return;
      const rate = now.first_pass_yield;
      fill(figures, [
        ["first-pass yield", rate.value === null ? "–" : percent(rate.value), rate.value === null ? "" : `${percent(rate.low)} to ${percent(rate.high)}`],
        ["parts", count(now.passed + now.failed + now.not_inspected), ""],
        ["rejected", count(now.failed), ""],
        ["not inspected", count(now.not_inspected), now.not_inspected_by[0]?.cause ?? ""],
        ["good among rejects", percent(now.good_among_rejects.value), now.seen_again ? `${now.seen_again} seen again` : "none drawn yet"],
        ["bad among passes", percent(now.bad_among_passes.value), ""],
      ].map(([name, value, note]) => h("div", {}, h("dt", {}, name), h("dd", {}, value, h("small", {}, note || "\u00a0")))));
      fill(control, now.points.length ? controlChart(now) : h("p", { class: "empty" }, "No part was inspected in this time."));
      fill(pareto, now.rejects.length ? paretoChart(now.rejects) : h("p", { class: "empty" }, "No reject in this time."));
    } catch (error) {
      fill(figures, h("p", { class: "empty" }, error.message));
    }
    if (!closed) timer = setTimeout(summary, AGAIN_MS);
  }

  async function evidence(before) {
    const query = new URLSearchParams({ last: 24, outcome: filter.outcome, cause: filter.cause, ...(before ? { before } : {}) });
    try {
      const rows = await get(`/api/station/verdicts?${query}`);
      const made = rows.map((row) => card(row));
      if (before) cards.append(...made);
      else fill(cards, made.length ? made : h("p", { class: "empty" }, "None."));
      oldest = rows.at(-1)?.seq ?? null;
      more.hidden = rows.length < 24;
    } catch (error) {
      fill(cards, h("p", { class: "empty" }, error.message));
      more.hidden = true;
    }
  }

  function card(row) {
    const picture = row.image
      ? h("img", { class: "picture", src: `/api/station/images/${row.image}`, alt: "", loading: "lazy" })
      : h("span", { class: "picture" }, "no picture");
    return h("button", { class: "card", "data-key": row.seq, onclick: () => show(row.seq) }, picture, h("span", { class: "says" },
      h("span", { class: "row" }, h("span", { class: `chip ${tone(row.outcome)}` }, words(row.outcome)), row.judged && h("span", { class: "chip" }, `found ${row.judged}`)),
      h("span", {}, row.why.replaceAll("_", " ")), h("span", { class: "dim num" }, `${day(row.utc_ms)} ${clock(row.utc_ms)}`), h("span", { class: "dim num" }, row.serial || `part ${row.number}`)));
  }

  async function show(seq) {
    const [row, defects] = await Promise.all([get(`/api/station/verdicts/${seq}`), get("/api/station/defects")]);
    reading = seq;
    fill(dialog, h("div", { class: "inside" }, pictured(row), details(row, defects)));
    if (!dialog.open) dialog.showModal();
  }

  function pictured(row) {
    if (!row.image) return h("p", { class: "empty" }, row.image_lost ? `No picture: ${row.image_lost}.` : "No picture was kept of this part.");
    const boxes = svg("svg", { "aria-hidden": "true" });
    const image = h("img", { src: `/api/station/images/${row.image}`, alt: `Part ${row.number}: ${row.why}` });
    image.addEventListener("load", () => {
      boxes.setAttribute("viewBox", `0 0 ${image.naturalWidth} ${image.naturalHeight}`);
      const corners = (found) => found.map((b) => [b.left, b.top, b.right, b.bottom, b.label, b.score]);
      const counted = row.boxes.filter((each) => each.counts === "defect");
      const defects = counted.length ? counted : row.boxes.filter((each) => row.causes.includes(each.label)); // the rule was another one then
      fill(boxes, drawBoxes(corners(row.boxes.filter((each) => each.counts === "part")), corners(defects), image.naturalWidth, image.naturalHeight, row.outcome === "FAIL"));
    });
    return h("div", { class: "frame" }, image, boxes);
  }

  function details(row, defects) {
    const facts = [["part", `${row.source} ${row.number}`], ["serial", row.serial], ["lot", row.lot], ["kind", row.part_type], ["at", `${day(row.utc_ms)} ${clock(row.utc_ms)}`], ["took", ms(row.took_ms)],
      ["rule", row.rule], ["model", row.model], ["ran", row.placement], ["row", String(row.seq)], ["hash", row.hash.slice(0, 16)],
      ...Object.entries(row.sizes_mm).map(([name, value]) => [name, `${value.toFixed(3)} mm`])];
    return h("div", { class: "grid" },
      h("div", { class: "row" }, h("span", { class: `chip ${tone(row.outcome)}` }, words(row.outcome)), h("span", { class: "push" }), h("button", { class: "quiet", onclick: () => dialog.close() }, "Close")),
      h("h3", {}, row.why.replaceAll("_", " ")),
      h("dl", { class: "facts" }, facts.filter(([, value]) => value).flatMap(([name, value]) => [h("dt", {}, name), h("dd", { class: "num" }, value)])),
      row.judgements.map((each) => h("p", { class: "small" }, h("b", {}, each.operator), ` found ${each.outcome}${each.causes.length ? ` (${each.causes.join(", ")})` : ""}, ${day(each.utc_ms)} ${clock(each.utc_ms)}`)),
      who.csrf && who.role !== "viewer" ? judging(row, defects) : h("p", { class: "dim small" }, "Sign in as operator to judge this part again."));
  }

  function judging(row, defects) {
    const says = h("p", { role: "alert", class: "fail small" });
    const marks = defects.map((name) => h("input", { type: "checkbox", id: `d-${name}`, value: name, checked: row.causes.includes(name) }));
    const drawn = h("input", { type: "checkbox", id: "sampled" });
    async function judge(outcome) {
      const causes = outcome === "FAIL" ? marks.filter((each) => each.checked).map((each) => each.value) : [];
      try {
        await post(`/api/station/verdicts/${row.seq}/judgement`, { outcome, causes, sampled: drawn.checked });
        await show(row.seq);
        dialog.querySelector("button").focus();
        evidence();
      } catch (error) {
        fill(says, error.message);
      }
    }
    return h("div", { class: "grid" },
      h("fieldset", {}, h("legend", {}, "What is it really?"), marks.map((mark) => h("span", { class: "check" }, mark, h("label", { for: mark.id }, mark.value.replaceAll("_", " "))))),
      h("span", { class: "small check" }, drawn, h("label", { for: "sampled" }, "drawn at random for re-inspection")),
      h("div", { class: "row" }, h("button", { onclick: () => judge("PASS") }, "It is good"), h("button", { onclick: () => judge("FAIL") }, "It is bad")), says);
  }

  let parts = 0;
  buttons();
  summary();
  evidence();
  return {
    update(state) {
      const failed = state.verdicts?.failed ?? 0; // a new reject is evidence to look at, unless somebody has scrolled on
      if (parts && failed > parts && filter.outcome === "FAIL" && !dialog.open && cards.childElementCount <= 24) evidence();
      parts = failed;
    },
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
}
