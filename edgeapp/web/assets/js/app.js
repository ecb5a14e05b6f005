// The frame around the pages: the bar, the one live connection, and which page is shown.

import { post, session } from "./api.js";
import { fill, h } from "./dom.js";
import { live } from "./live.js";
import * as budget from "./pages/budget.js";
import * as content from "./pages/content.js";
import * as health from "./pages/health.js";
import * as login from "./pages/login.js";
import * as models from "./pages/models.js";
import * as now from "./pages/now.js";
import * as station from "./pages/station.js";

const PAGES = { "/": now, "/budget": budget, "/station": station, "/content": content, "/models": models, "/health": health, "/login": login };
const bar = document.getElementById("bar");
const main = document.getElementById("page");
const dot = h("span", { class: "dot away", role: "img", "aria-label": "not connected" });

let who = null;
let link = null;
let page = null;
let state = {};

async function start() {
  try {
    who = await session();
  } catch {
    setTimeout(start, 1000); // the device is starting
    return;
  }
  if (!who.role && location.pathname !== "/login") {
    history.replaceState(null, "", `/login?then=${encodeURIComponent(location.pathname)}`);
  }
  if (who.role && !link) {
    link = live("/api/live", { onState: take, onPicture: (header, blob) => page?.picture?.(header, blob), onStatus: connected });
  }
  show();
}

function take(changed) {
  delete changed.hello;
  state = { ...state, ...changed };
  page?.update?.(state);
}

async function connected(is) {
  dot.classList.toggle("away", !is);
  dot.setAttribute("aria-label", is ? "connected" : "not connected");
  if (!is || !who) return;
  const before = who;
  who = await session().catch(() => before);
  if (!who.role) location.assign("/login");
}

function show() {
  page?.close?.();
  const made = PAGES[location.pathname] ?? now;
  document.title = `${made.title} · ${who.device}`;
  drawBar();
  fill(main);
  page = made.open(main, { who, go, state });
  if (link) link.want(made.topics);
  page.update?.(state);
}

function go(path) {
  history.pushState(null, "", path);
  show();
  main.focus({ preventScroll: true });
  scrollTo(0, 0);
}

function drawBar() {
  const paths = ["/", "/budget", ...(who.station ? ["/station"] : []), ...(who.content ? ["/content"] : []), "/models", "/health"];
  const links = paths.map((path) =>
    h("a", { href: path, "aria-current": location.pathname === path ? "page" : false, onclick: (event) => follow(event, path) }, PAGES[path].title));
  const face = who.kiosk ? h("a", { href: "/kiosk" }, "Kiosk") : null;
  const signed = who.role
    ? h("span", { class: "dim small user" }, who.csrf ? `${who.user}, ${who.role}` : "looking only")
    : null;
  const door = who.csrf
    ? h("button", { class: "quiet", onclick: leave }, "Sign out")
    : who.users ? h("a", { class: "small", href: "/login", onclick: (event) => follow(event, "/login") }, "Sign in") : null;
  fill(bar, h("span", { class: "device" }, dot, who.device), who.role ? h("nav", { "aria-label": "Pages" }, links, face) : h("nav", { "aria-label": "Pages" }), signed, themeButton(), door);
}

function follow(event, path) {
  if (event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  go(path);
}

function themeButton() {
  const root = document.documentElement;
  const dark = () => root.dataset.theme === "dark" || (!root.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  const button = h("button", { class: "quiet", "aria-label": "Dark colours", "aria-pressed": false, onclick: change }, "◐");
  button.setAttribute("aria-pressed", dark() ? "true" : "false");
  function change() {
    root.dataset.theme = dark() ? "light" : "dark";
    localStorage.setItem("theme", root.dataset.theme);
    button.setAttribute("aria-pressed", dark() ? "true" : "false");
  }
  return button;
}

async function leave() {
  await post("/api/logout");
  location.assign("/login");
}

addEventListener("popstate", show);
start();
