// Models: what is on this device and serves where, what the golden gate said, what can be fetched.

import { get, post, remove } from "../api.js";
import { fill, h, text } from "../dom.js";
import { bytes, percent } from "../format.js";

export const title = "Models";
export const topics = ["gates", "pull"];

export function open(root, { who }) {
  const engineer = who.csrf && who.role === "engineer";
  const says = h("p", { role: "status", class: "notice hidden" });
  const here = h("div", { class: "scroll" });
  const gates = h("div", { class: "scroll" });
  const more = h("div", { class: "scroll" });
  const switches = h("div", {});
  const bar = h("progress", { max: 1, value: 0, "aria-label": "Fetched" });
  const pulling = h("p", { class: "num small dim" });
  const stop = h("button", { class: "hidden", onclick: giveUp }, "Stop");
  const pull = h("section", { class: "panel hidden" }, h("div", { class: "row" }, h("h2", {}, "Fetching"), h("span", { class: "push" }), engineer && stop), pulling, bar);
  let fetched = "";
  let state = "none";
  root.append(h("div", { class: "row", style: { "margin-bottom": "var(--gap)" } }, h("h1", {}, "Models")), says, h("div", { class: "grid" }, pull,
    h("section", { class: "panel" }, h("h2", {}, "On this device"), here),
    h("div", { class: "grid two" },
      h("section", { class: "panel" }, h("h2", {}, "The golden gate at this start"), gates),
      h("section", { class: "panel" }, h("h2", {}, "Switched, and refused"), switches)),
    h("section", { class: "panel" }, h("h2", {}, "To be fetched"), more)));

  function tell(sentence, bad = false) {
    says.className = `notice${bad ? " bad" : ""}`;
    text(says, sentence);
  }

  async function act(button, path, done) {
    button.disabled = true;
    try {
      const answer = await post(path);
      tell(done(answer));
      await load();
    } catch (error) {
      tell(error.message, true);
    }
    button.disabled = false;
  }

  async function giveUp() {
    stop.disabled = true;
    try {
      await remove(`/api/models/${fetched}/pull`);
    } catch (error) {
      tell(error.message, true);
    }
  }

  async function load() {
    try {
      const models = await get("/api/models");
      fill(here, table(["name", "kind", "size", "version", "serves", "from", ""], models.here.map((each) => [
        h("b", {}, each.name), each.kind, bytes(each.size_bytes), h("span", { class: "num", title: each.sha256 }, each.sha256.slice(0, 12)),
        [...each.current_for.map((role) => h("span", { class: "chip pass" }, `current for ${role}`)), ...each.previous_for.map((role) => h("span", { class: "chip" }, `previous for ${role}`)), each.whole ? null : h("span", { class: "chip fail" }, "damaged")],
        h("span", { class: "dim" }, `${each.ships ? "ships with edgeapp" : `${each.source} ${each.revision.slice(0, 12)}`}, ${each.licence}`),
        engineer && each.engine && !each.current_for.length && each.kind !== "vad" ? switcher(each) : ""])));
      fill(more, models.more.length ? table(["name", "kind", "size", "from", ""], models.more.map((each) => [
        h("b", {}, each.name), each.kind, `${each.size_mb} MB`, h("span", { class: "dim" }, `${each.repository}${each.pinned ? ", pinned" : ""}, ${each.licence}`), engineer ? puller(each) : ""])) : h("p", { class: "empty" }, "Everything is here."));
      fill(switches, models.switches.length ? table(["when", "what", ""], models.switches.map((each) => [h("span", { class: "num" }, each.at.slice(0, 16).replace("T", " ")), `${each.role}: ${each.before || "nothing"} → ${each.to}`, h("span", { class: each.accepted ? "pass" : "fail" }, each.says)])) : h("p", { class: "empty" }, "Nothing was switched yet."));
    } catch (error) {
      tell(error.message, true);
    }
  }

  function switcher(model) {
    const button = h("button", { onclick: () => act(button, `/api/models/${model.kind}/switch/${model.name}`, (answer) => `${model.name} is current for ${model.kind}: ${answer.says}. It serves from the next start on.`) }, "Make current");
    return button;
  }

  function puller(source) {
    const button = h("button", { onclick: () => act(button, `/api/models/${source.name}/pull`, () => { scrollTo(0, 0); return `${source.name} is being fetched.`; }) }, "Fetch");
    return button;
  }

  load();
  return {
    update(all) {
      if (all.gates) {
        const rows = Object.entries(all.gates);
        fill(gates, rows.length ? table(["role", "model", "cases", ""], rows.map(([where, each]) => [where, h("b", {}, each.model), h("span", { class: "num" }, each.cases ? `${each.right} of ${each.cases}` : "–"), h("span", { class: each.outcome === "passed" ? "pass" : each.outcome === "refused" ? "fail" : "dim" }, each.outcome, each.why && ` (${each.why})`)])) : h("p", { class: "empty" }, "No model was asked yet."));
      }
      if (!all.pull) return;
      pull.classList.toggle("hidden", all.pull.state === "none");
      bar.value = all.pull.bytes ? all.pull.came_bytes / all.pull.bytes : 0;
      text(pulling, `${all.pull.name}: ${all.pull.state}${all.pull.bytes ? `, ${bytes(all.pull.came_bytes)} of ${bytes(all.pull.bytes)} (${percent(bar.value, 0)})` : ""}. ${all.pull.says.at(-1) ?? ""}`);
      fetched = all.pull.name;
      stop.disabled = all.pull.state === "stopping";
      stop.classList.toggle("hidden", !["under way", "stopping"].includes(all.pull.state));
      const ended = !["none", "under way", "stopping"].includes(all.pull.state);
      if (ended && ["under way", "stopping"].includes(state)) {
        says.className = "notice hidden"; // it said that it is being fetched
        load();
      }
      state = all.pull.state;
    },
  };
}

function table(names, rows) {
  return h("table", {}, h("thead", {}, h("tr", {}, names.map((name) => (name ? h("th", { scope: "col" }, name) : h("td", {}))))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell) => h("td", { class: typeof cell === "string" ? "num" : "" }, cell))))));
}
