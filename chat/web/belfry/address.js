/**
 * The websocket address for what a person or a server wrote: https://host, wss://host/ws, /ws, or nothing.
 * @param {string | undefined} written
 * @param {string | undefined} base what it is relative to
 */
export function socketAddress(written, base) {
  const url = new URL(written ?? "", base);
  url.protocol = url.protocol.replace("http", "ws");
  url.hash = "";
  if (url.pathname === "/" || url.pathname === "") url.pathname = "/ws";
  return url.href;
}
