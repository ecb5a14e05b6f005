// The station's desk: its golden parts, and a rule asked about parts that were judged long ago.

import { get, post } from "../api.js";
import { fill, h, text } from "../dom.js";
import { clock, count, day, tone, words } from "../format.js";

export function goldenPanel(who) {
  const says = h("p", { role: "status" });
  const list = h("div", { class: "scroll" });
  const button = h("button", { onclick: run }, "Look at them now");

  async function load() {
    const now = await get("/api/station/golden");
    says.className = now.trouble ? "fail" : "dim";
    text(says, now.trouble || "Parts may pass.");
    fill(list, h("table", {}, h("tbody", {}, now.runs.slice(0, 8).map((each) => h("tr", {},
      h("td", { class: "num dim" }, `${day(each.utc_ms)} ${clock(each.utc_ms)}`), h("td", {}, h("span", { class: `chip ${each.ok ? "pass" : "fail"}` }, each.ok ? "as known" : "wrong")),
      h("td", {}, each.why, [...each.wrong, ...each.drift].map((line) => h("div", { class: "small dim" }, line))))))));
  }

  async function run() {
    button.disabled = true;
    try {
      await post("/api/station/golden/run");
      await load();
    } catch (error) {
      text(says, error.message);
    }
    button.disabled = false;
  }

  load().catch((error) => text(says, error.message));
  return h("section", { class: "panel" }, h("div", { class: "row" }, h("h2", {}, "Golden parts"), h("span", { class: "push" }), who.csrf && who.role !== "viewer" && button), says, list);
}

export function rulesPanel(who, show) {
  const list = h("div", { class: "scroll" });
  const says = h("p", { role: "status", class: "small" });
  const flips = h("div", { class: "scroll" });
  const rule = h("textarea", { id: "rule", spellcheck: "false", "aria-label": "A rule, as TOML" });
  const button = h("button", { onclick: ask }, "Ask the last 8 hours");

  async function ask() {
    button.disabled = true;
    text(says, "The rule is asked: some seconds.");
    try {
      const found = await post("/api/station/rules/dry-run", { toml: rule.value, hours: 8 });
      text(says, `${count(found.flips)} of ${count(found.rows)} verdicts would have been others${found.cannot_tell ? `; of ${count(found.cannot_tell)} it cannot be told` : ""}.`);
      fill(flips, h("table", {}, h("tbody", {}, found.listed.map((each) => h("tr", {},
        h("td", {}, h("button", { onclick: () => show(each.seq) }, String(each.seq))), h("td", {}, h("span", { class: `chip ${tone(each.was)}` }, words(each.was)), " → ", h("span", { class: `chip ${tone(each.would)}` }, words(each.would))), h("td", {}, each.why))))));
    } catch (error) {
      text(says, error.message);
    }
    button.disabled = false;
  }

  get("/api/station/rules").then((book) => {
    rule.value = book.text;
    fill(list, h("table", {}, h("tbody", {}, book.signed.slice(0, 6).map((each) => h("tr", {},
      h("td", {}, h("b", {}, each.version), " ", each.in_use && h("span", { class: "chip pass" }, "in use")), h("td", {}, each.why), h("td", { class: "dim" }, `${each.by}, ${day(each.utc_ms)}`))))));
  }, (error) => text(says, error.message));
  return h("section", { class: "panel grid" }, h("h2", {}, "Rules"), list, who.csrf && who.role === "engineer" && [rule, h("div", { class: "row" }, button, says), flips]);
}
