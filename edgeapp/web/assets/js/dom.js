// Elements from values. Text is always text: nothing here reads HTML.

export function h(tag, props = {}, ...children) {
  return build(document.createElement(tag), props, children);
}

export function svg(tag, props = {}, ...children) {
  return build(document.createElementNS("http://www.w3.org/2000/svg", tag), props, children);
}

function build(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, each] of Object.entries(value)) node.style.setProperty(key, each);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((each) => each !== null && each !== undefined && each !== false));
  return node;
}

// Replace what is inside. Who had the focus there keeps it, at the element of the same data-key or else in the same place:
// people without a mouse would have to begin at the top of the page again.
export function fill(node, ...children) {
  const reachable = () => [...node.querySelectorAll("a, button, input, select, textarea")];
  const held = node.contains(document.activeElement) ? document.activeElement : null;
  const place = held ? reachable().indexOf(held) : -1;
  node.replaceChildren(...children.flat().filter(Boolean));
  if (place >= 0 && !node.contains(document.activeElement)) {
    const there = reachable();
    const same = held.dataset.key && there.find((each) => each.dataset.key === held.dataset.key);
    (same || there[place])?.focus({ preventScroll: true });
  }
  return node;
}

export function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
}
