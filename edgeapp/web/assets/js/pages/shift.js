// Who is at the line, and which lot runs on it: shown to everybody, changed by an operator.

import { get, put } from "../api.js";
import { fill, h } from "../dom.js";

export function shiftRow(who) {
  const row = h("form", { class: "row", "aria-label": "Shift", hidden: true, style: { "margin-bottom": "0.9rem" } });
  const says = h("span", { role: "status", class: "small" });
  const may = who.csrf && who.role !== "viewer";

  function show(now) {
    row.hidden = false;
    if (!may) {
      const told = [now.operator && `operator ${now.operator}`, now.lot && `lot ${now.lot}`].filter(Boolean).join(", ");
      fill(row, h("span", { class: "dim" }, told || "no operator and no lot are named"));
      return;
    }
    const [operator, lot] = [now.operator, now.lot].map((value) => h("input", { value, maxlength: 64, size: 14, autocomplete: "off" }));
    row.onsubmit = async (event) => {
      event.preventDefault();
      try {
        await put("/api/station/shift", { operator: operator.value.trim(), lot: lot.value.trim() });
        says.className = "small dim";
        says.textContent = "from the next part on";
      } catch (error) {
        says.className = "small fail";
        says.textContent = error.message;
      }
    };
    for (const each of [operator, lot]) each.oninput = () => { says.textContent = ""; };
    fill(row, h("label", { class: "row" }, "Operator", operator), h("label", { class: "row" }, "Lot", lot), h("button", {}, "Set"), says);
  }

  get("/api/station/shift").then(show, () => {}); // a device without a line has none
  return row;
}
