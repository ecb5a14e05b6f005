// Health: alarms, devices, the machine, what was dropped, the doctor, and who changed what.

import { get, post } from "../api.js";
import { fill, h } from "../dom.js";
import { clock, day } from "../format.js";

export const title = "Health";
export const topics = ["alarms", "devices", "drops", "machine"];

export function open(root, { who }) {
  const figures = h("dl", { class: "figures" });
  const warm = h("div", { class: "scroll" });
  const alarms = h("div", {});
  const drops = h("div", {});
  const devices = h("div", { class: "scroll" });
  const report = h("div", { class: "scroll" }, h("p", { class: "empty" }, "The doctor looks: some seconds."));
  const engineer = who.csrf && who.role === "engineer";
  const changes = h("div", { class: "scroll" });
  const seen = h("button", { onclick: acknowledge }, "I have seen them");
  const said = h("p", { role: "status", class: "small dim" });
  root.append(h("div", { class: "row", style: { "margin-bottom": "var(--gap)" } }, h("h1", {}, "Health")), h("div", { class: "grid" },
    h("section", { class: "panel", "aria-label": "Machine" }, figures),
    h("div", { class: "grid four" },
      h("section", { class: "panel" }, h("div", { class: "row" }, h("h2", {}, "Alarms"), h("span", { class: "push" }), who.station && who.csrf && who.role !== "viewer" ? seen : null), said, alarms),
      h("section", { class: "panel" }, h("h2", {}, "Devices"), devices),
      h("section", { class: "panel" }, h("h2", {}, "Temperatures and power"), warm),
      h("section", { class: "panel" }, h("h2", {}, "Dropped by a buffer"), drops)),
    h("section", { class: "panel" }, h("h2", {}, "Doctor"), report),
    engineer && h("section", { class: "panel" }, h("h2", {}, "The last changes, and who made them"), changes)));

  async function acknowledge() {
    try {
      await post("/api/station/acknowledge");
      fill(said, "The line's machines are told.");
    } catch (error) {
      fill(said, error.message);
    }
  }

  let closed = false;
  get("/api/health/doctor").then((found) => {
    if (closed) return;
    const order = { broken: 0, note: 1, ok: 2 };
    const rows = found.findings.sort((one, other) => order[one.state] - order[other.state]);
    fill(report, h("table", {}, h("tbody", {}, rows.map((each) => h("tr", {},
      h("td", {}, h("span", { class: `chip ${{ broken: "fail", note: "not", ok: "" }[each.state]}` }, each.state)), h("td", {}, h("b", {}, each.what)),
      h("td", {}, each.says, each.fix && h("div", {}, h("code", {}, each.fix))))))));
  }, (error) => fill(report, h("p", { class: "empty" }, error.message)));

  if (engineer) {
    get("/api/audit?last=30").then((lines) => !closed && fill(changes, lines.length ? h("table", {}, h("tbody", {}, lines.map((each) => h("tr", {},
      h("td", { class: "num dim" }, `${day(each.utc_ms)} ${clock(each.utc_ms)}`), h("td", {}, h("b", {}, each.who)), h("td", {}, `${each.what} ${each.of}`), h("td", { class: each.outcome.startsWith("refused") || each.outcome.startsWith("failed") ? "fail" : "dim" }, each.outcome), h("td", { class: "num dim" }, each.address))))) : h("p", { class: "empty" }, "Nothing was changed yet.")),
    (error) => fill(changes, h("p", { class: "empty" }, error.message)));
  }

  return {
    close() { closed = true; },
    update({ machine, alarms: list, drops: dropped, devices: open }) {
      if (open) fill(devices, open.length ? h("table", {}, h("tbody", {}, open.map((each) => h("tr", {}, h("td", {}, h("b", {}, each.name)), h("td", {}, h("span", { class: `chip ${each.trouble ? "fail" : "pass"}` }, each.trouble ? "away" : "there")), h("td", {}, each.trouble))))) : h("p", { class: "empty" }, "None is open."));
      if (machine) {
        fill(figures, [["processor", `${machine.cpu_share.toFixed(2)}`, `of ${machine.cores} cores`], ["memory", String(machine.rss_mb), "MB"], ["load", machine.load.toFixed(1), ""], ["longest stall", machine.loop_stall_ms.toFixed(0), "ms"], ["screens", String(machine.viewers), ""]]
          .map(([name, value, unit]) => h("div", {}, h("dt", {}, name), h("dd", {}, value, h("small", { class: "unit" }, ` ${unit}`)))));
        const sensors = [...Object.entries(machine.temperatures_c).map(([name, value]) => [name, `${value.toFixed(1)} °C`]), ...Object.entries(machine.power_w).map(([name, value]) => [name, `${value.toFixed(2)} W`])];
        fill(warm, sensors.length ? h("table", {}, h("tbody", {}, sensors.map(([name, value]) => h("tr", {}, h("td", {}, name), h("td", { class: "r" }, value))))) : h("p", { class: "empty" }, "This machine's kernel shows no sensor."));
      }
      if (list) fill(alarms, list.length ? h("table", {}, h("tbody", {}, list.slice(0, 20).map((each) => h("tr", {}, h("td", { class: "num dim" }, clock(each.utc_ms)), h("td", {}, h("b", {}, each.where)), h("td", {}, each.what))))) : h("p", { class: "empty" }, "None."));
      if (dropped) fill(drops, Object.keys(dropped).length ? h("table", {}, h("tbody", {}, Object.entries(dropped).map(([where, times]) => h("tr", {}, h("td", {}, where), h("td", { class: "r" }, String(times)))))) : h("p", { class: "empty" }, "Nothing."));
    },
  };
}
