// Content: what the voice knows, as its owner writes it. The device checks each text while it is written.

import { get, post, put } from "../api.js";
import { fill, h, text } from "../dom.js";

export const title = "Content";
export const topics = ["content"];

const REST_MS = 500; // without a key, before the text is checked
let draft = null; // what was written and not saved outlives a look at another page

export function open(root, { who }) {
  const engineer = who.csrf && who.role === "engineer";
  const area = h("textarea", { class: "tall", spellcheck: "false", "aria-label": "The content, as TOML", readonly: !engineer, oninput: written });
  const says = h("p", { role: "status" });
  const facts = h("ul", { class: "facts-changed", "aria-label": "What changes" });
  const jump = h("button", { class: "hidden", onclick: show });
  const save = h("button", { class: "primary", disabled: true, onclick: keep }, "Save, and answer from it");
  const again = h("button", { onclick: load }, "Load the saved text");
  const file = h("p", { class: "dim small" });
  let saved = { text: "", tag: "", locked: "" };
  let timer = 0;
  let line = 0;
  let asked = 0;
  let closed = false;
  root.append(h("div", { class: "row", style: { "margin-bottom": "var(--gap)" } }, h("h1", {}, "Content")), h("div", { class: "grid writing" },
    h("section", { class: "panel", "aria-label": "The text" }, area),
    h("section", { class: "panel grid top" }, h("h2", {}, "What the voice knows"), says, h("div", { class: "row" }, jump), facts, engineer && h("div", { class: "row" }, save, again), file)));

  function tell(sentence, bad = false) {
    says.className = bad ? "fail" : "";
    text(says, sentence);
    line = bad ? Number(/\bline (\d+)/.exec(sentence)?.[1] ?? 0) : 0;
    jump.classList.toggle("hidden", !line);
    text(jump, `Show line ${line}`);
  }

  async function load() {
    draft = null;
    await read();
  }

  async function read() {
    clearTimeout(timer);
    asked += 1;
    try {
      saved = await get("/api/content");
    } catch (error) {
      tell(error.message, true);
      return;
    }
    if (closed) return;
    area.value = draft?.text ?? saved.text;
    save.disabled = true;
    fill(facts);
    const name = saved.file.split("/").at(-1);
    file.title = saved.file;
    text(file, `${name} on the device; the text before the last save is kept beside it, as ${name}.before.`);
    if (saved.locked) tell(saved.locked);
    else if (draft) written();
    else tell(saved.in_use ? "The voice answers from this text." : "This text was changed beside the pages: save it, or start the device anew, and the voice answers from it.");
    if (engineer && !saved.in_use && !saved.locked && !draft) save.disabled = false;
  }

  function written() {
    draft = { text: area.value, tag: draft?.tag ?? saved.tag };
    save.disabled = true;
    asked += 1;
    clearTimeout(timer);
    timer = setTimeout(check, REST_MS);
  }

  async function check() {
    const mine = asked;
    try {
      const found = await post("/api/content/check", { text: area.value });
      if (mine !== asked || closed) return;
      list(found);
      tell(found.gone.length + found.new.length ? "It is right. This changes:" : "It is right. No fact changes.");
      save.disabled = Boolean(saved.locked);
      if (saved.locked) tell(saved.locked);
    } catch (error) {
      if (mine !== asked || closed) return;
      fill(facts);
      tell(error.message, true);
    }
  }

  function list(found) {
    fill(facts, found.gone.map((each) => h("li", { class: "gone" }, h("del", {}, each))), found.new.map((each) => h("li", { class: "new" }, h("ins", {}, each))));
  }

  async function keep() {
    clearTimeout(timer);
    asked += 1;
    save.disabled = true;
    try {
      const found = await put("/api/content", { text: area.value, tag: draft?.tag ?? saved.tag });
      await load();
      list(found);
      tell("Saved. The voice answers from it from the next question on.");
    } catch (error) {
      tell(error.message, true);
      save.disabled = line > 0;
    }
  }

  function show() {
    const lines = area.value.split("\n");
    const start = lines.slice(0, line - 1).reduce((length, each) => length + each.length + 1, 0);
    area.focus();
    area.setSelectionRange(start, start + (lines[line - 1] ?? "").length);
    area.scrollTop = (area.scrollHeight / lines.length) * Math.max(0, line - 4);
  }

  read();
  return {
    update({ content }) { // somebody else saved: whoever writes is told when they save
      if (content && saved.tag && content.tag !== saved.tag && !draft) read();
    },
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
}
