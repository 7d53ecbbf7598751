/**
 * Elements, made without markup: nothing that anybody wrote is ever parsed as HTML.
 *
 *     h("button", { class: "quiet", onclick: go }, "Go")
 *
 * `on...` are listeners, `class` and the rest are attributes; true is an empty attribute, false and null are none.
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An icon of the sprite in index.html; it is decoration, so the words beside it must do without. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** The element with this id; a page without it is broken, and says so at once. */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element;
}

/** Somebody's words inside ours: isolated, so that right-to-left text cannot reorder what stands around it. */
export function bdi(text, attributes = {}) {
  return h("bdi", attributes, text);
}
