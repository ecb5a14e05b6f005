// The face for visitors: captions, what the device is doing, touch to talk; without speech, what may be asked.

import { fill, h, text } from "./dom.js";
import { live } from "./live.js";
import { TEXTS } from "./texts.js";

const RESET_MS = 60000; // a visitor's language and display are forgotten so long after the last word or touch
const at = (id) => document.getElementById(id);
const root = document.documentElement;

let face = null;
let language = "en";
let now = { doing: "asleep", heard: "", said: "", turn: 0 };
let away = true;
let stirred = 0;
let link = null;
let known = "";
let down = false;
let labelled = "";

async function start() {
  try {
    const response = await fetch("/api/visitor/face");
    const said = await response.json();
    if (!response.ok) return refused(said.detail);
    face = said;
  } catch {
    setTimeout(start, 1000); // the device is starting
    return undefined;
  }
  choose(face.languages[0]);
  link ??= live("/api/visitor", { onState: take, onStatus: connected });
  return undefined;
}

function refused(detail) {
  document.body.className = "away";
  text(at("doing"), detail);
}

async function take(changed) {
  if (changed.content && known && known !== changed.content.tag) await ask(); // the shop's owner has changed it
  known = changed.content?.tag ?? known;
  if (!changed.captions) return;
  if (changed.captions.turn !== now.turn || changed.captions.doing === "hearing") stirred = Date.now();
  if (changed.captions.doing === "speaking" || changed.captions.doing === "thinking") stirred = Date.now();
  now = changed.captions;
  draw();
}

async function ask() {
  const response = await fetch("/api/visitor/face").catch(() => null);
  if (!response?.ok) return;
  face = await response.json();
  labels();
}

async function connected(is) {
  if (is && away && face) await ask(); // the device may have begun anew, with another configuration
  away = !is;
  if (!is) release();
  labels();
}

function choose(code) {
  language = code;
  root.lang = code;
  labels();
}

function labels() {
  if (!face) return;
  const says = TEXTS[language];
  document.title = face.name;
  text(at("name"), face.name);
  text(at("talk"), down ? says.talking : says.talk);
  at("talk").hidden = !face.touch;
  text(at("hint"), face.keyphrase && !face.touch ? says.say(face.keyphrase) : says.hint);
  draw();
  const shown = JSON.stringify([face, language, root.dataset.size, root.dataset.contrast]);
  if (shown === labelled) return; // a button that is made anew under a finger does nothing
  labelled = shown;
  fill(at("questions"), face.questions.slice(0, 6).map((each) => h("li", {}, each)));
  at("languages").setAttribute("aria-label", says.languages);
  at("sight").setAttribute("aria-label", says.sight);
  fill(at("languages"), face.languages.length > 1 && face.languages.map((code) => h("button", { lang: code, "aria-pressed": String(code === language), onclick: () => { stirred = Date.now(); choose(code); } }, TEXTS[code].name)));
  fill(at("sight"), sight("size", "large", "A+", `A+ ${says.large}`), sight("contrast", "high", "◑", says.contrast));
}

function sight(name, value, sign, label) {
  const on = root.dataset[name] === value;
  return h("button", { "aria-label": label, title: label, "aria-pressed": String(on), onclick: () => {
    if (on) delete root.dataset[name];
    else root.dataset[name] = value;
    labels();
  } }, sign);
}

function draw() {
  if (!face) return;
  const says = TEXTS[language];
  const quiet = now.doing === "asleep" || now.doing === "listening";
  const idle = quiet && !down && Date.now() - stirred > face.idle_ms;
  document.body.className = `${away ? "away" : ""} ${idle || !now.turn ? "idle" : ""}`;
  document.body.dataset.doing = down ? "hearing" : now.doing;
  text(at("doing"), away ? says.away : down ? says.talking : says[now.doing]);
  text(at("heard"), now.heard ? `“${now.heard}”` : "");
  at("said").className = now.said.length > 70 ? "long" : "";
  text(at("said"), now.doing === "hearing" ? "" : now.said);
  fit();
  if (Date.now() - stirred > RESET_MS && quiet && (root.dataset.size || root.dataset.contrast || language !== face.languages[0])) {
    delete root.dataset.size;
    delete root.dataset.contrast;
    choose(face.languages[0]);
  }
}

// A long reply is made to fit: first all else makes room, then it gets smaller, and at last its newest words are what is seen.
let fitted = "";
function fit() {
  const shown = [now.said, now.heard, document.body.className, root.dataset.size, innerWidth, innerHeight].join("|");
  if (shown === fitted) return;
  fitted = shown;
  const main = document.querySelector("main");
  const over = () => main.scrollHeight > main.clientHeight;
  main.classList.remove("tight");
  root.style.setProperty("--fit", 1);
  main.classList.toggle("tight", now.said !== "" && over());
  for (let size = 9; size >= 6 && over(); size -= 1) root.style.setProperty("--fit", size / 10);
  main.scrollTop = main.scrollHeight;
}

function tick() {
  const time = new Date();
  text(at("clock"), time.toLocaleTimeString(language === "en" ? "en-GB" : language, { hour: "2-digit", minute: "2-digit" }));
  const days = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
  const today = face?.hours.find(([day]) => day === days[time.getDay()]);
  text(at("hours"), today ? TEXTS[language].today(TEXTS[language].days[time.getDay()], today[1]) : "");
  draw();
}

function press(event) {
  if (down || (event.type === "keydown" && (event.repeat || !["Enter", " "].includes(event.key)))) return;
  if (event.type === "keydown") event.preventDefault();
  else at("talk").setPointerCapture?.(event.pointerId);
  down = true;
  stirred = Date.now();
  at("talk").classList.add("down");
  link.say({ touch: true });
  labels();
}

function release(event) {
  if (!down || (event?.type === "keyup" && !["Enter", " "].includes(event.key))) return;
  down = false;
  at("talk").classList.remove("down");
  link?.say({ touch: false });
  labels();
}

at("talk").addEventListener("pointerdown", press);
at("talk").addEventListener("keydown", press);
for (const name of ["pointerup", "pointercancel", "keyup", "blur"]) at("talk").addEventListener(name, release);
addEventListener("contextmenu", (event) => event.preventDefault());
setInterval(tick, 1000);
start();
