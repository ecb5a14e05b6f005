// Signing in.

import { post } from "../api.js";
import { h, text } from "../dom.js";

export const title = "Sign in";
export const topics = [];

export function open(root, { who }) {
  const says = h("p", { role: "alert", class: "fail" });
  const user = h("input", { id: "user", name: "user", autocomplete: "username", autocapitalize: "none", required: true, maxlength: 32 });
  const password = h("input", { id: "password", name: "password", type: "password", autocomplete: "current-password", required: true, maxlength: 256 });
  const button = h("button", { class: "primary" }, "Sign in");
  const form = h("form", { class: "panel login", onsubmit: enter },
    h("h1", {}, who.device),
    who.users
      ? null
      : h("p", { class: "dim" }, "Nobody can sign in yet. On the device: ", h("code", {}, "edgeapp web passwd NAME")),
    h("div", {}, h("label", { for: "user" }, "Name"), user),
    h("div", {}, h("label", { for: "password" }, "Password"), password),
    says, button);
  root.append(form);
  user.focus();

  async function enter(event) {
    event.preventDefault();
    button.disabled = true;
    try {
      await post("/api/login", { user: user.value, password: password.value });
      const then = new URLSearchParams(location.search).get("then") ?? "/";
      location.assign(/^\/[a-z]*$/.test(then) ? then : "/");
    } catch (error) {
      text(says, error.message);
      button.disabled = false;
      password.select();
    }
  }
  return {};
}
