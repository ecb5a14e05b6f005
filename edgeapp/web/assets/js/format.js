// Numbers and times as people read them.

export const ms = (value) => (value === null || value === undefined ? "–" : `${Math.round(value)} ms`);
export const percent = (value, digits = 1) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(digits)} %`);
export const count = (value) => (value ?? 0).toLocaleString("en").replaceAll(",", " ");
export const bytes = (value) => (value >= 1e9 ? `${(value / 1e9).toFixed(1)} GB` : `${(value / 1e6).toFixed(1)} MB`);
export const clock = (utcMs) => new Date(utcMs).toLocaleTimeString("en-GB");
export const day = (utcMs) => new Date(utcMs).toLocaleDateString("en-GB", { day: "numeric", month: "short" });
export const words = (outcome) => outcome.replace("_", " ");
export const tone = (outcome) => ({ PASS: "pass", FAIL: "fail", NOT_INSPECTED: "not" })[outcome] ?? "";
