// The device's interface. A refusal becomes an Error with its sentence; without a session the login page opens.

let csrf = "none";

export async function session() {
  const now = await ask("GET", "/api/session");
  if (now.csrf) csrf = now.csrf;
  return now;
}

export const get = (path) => ask("GET", path);
export const post = (path, body) => ask("POST", path, body ?? {});
export const put = (path, body) => ask("PUT", path, body);
export const remove = (path) => ask("DELETE", path);

async function ask(method, path, body) {
  const headers = { accept: "application/json" };
  if (method !== "GET") headers["x-edgeapp-csrf"] = csrf;
  if (body !== undefined) headers["content-type"] = "application/json";
  const response = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  if (response.status === 204) return null;
  const said = await response.json().catch(() => ({}));
  if (response.ok) return said;
  const detail = typeof said.detail === "string" ? said.detail : "the device did not understand that";
  throw Object.assign(new Error(detail), { status: response.status });
}
