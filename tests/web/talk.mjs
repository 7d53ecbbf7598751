/**
 * belfry.js in Node against a real server: joins the lobby, says what it is told, and tells what it saw.
 *
 * Lines on stdin: {"say": text} or {"end": true}. Lines on stdout: {"event": name, ...}. The address and the token come
 * from the environment, so that the token is in no list of processes.
 */

import { createInterface } from "node:readline";

import { Belfry } from "../../chat/web/belfry.js";
import { NodeWebSocket } from "./node-websocket.mjs";

const tell = (event, more) => process.stdout.write(`${JSON.stringify({ event, ...more })}\n`);

const belfry = new Belfry({
  url: process.env.BELFRY_URL,
  token: process.env.BELFRY_TOKEN,
  WebSocket: NodeWebSocket,
  client: "talk.mjs",
});
belfry.on("state", ({ name }) => tell("state", { name }));
belfry.on("message", ({ seq, text, own }) => tell("message", { seq, text, own }));
belfry.on("ack", ({ seq, text }) => tell("ack", { seq, text }));
for (const name of ["gap", "refused", "shut", "error"]) belfry.on(name, (event) => tell(name, event));
belfry.join("lobby");
belfry.connect();

createInterface({ input: process.stdin }).on("line", (line) => {
  const { say, end } = JSON.parse(line);
  if (end) {
    belfry.close();
    process.exit(0);
  }
  belfry.send("lobby", say);
});
