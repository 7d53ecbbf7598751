/**
 * As much of a WebSocket as belfry.js needs, over Node's own http: Node has none by itself before version 22.
 *
 * Text frames of any length, unfragmented ones from the server (it sends no others), close and ping. RFC 6455, 5.2.
 */

import { createHash, randomBytes } from "node:crypto";
import { request } from "node:http";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const [TEXT, CLOSE, PING, PONG] = [1, 8, 9, 10];

export class NodeWebSocket {
  readyState = 0;
  onopen = null;
  onmessage = null;
  onclose = null;
  onerror = null;
  #socket = null;
  #waiting = Buffer.alloc(0);
  #told = { code: 1006, reason: "" };

  constructor(url, protocols) {
    const key = randomBytes(16).toString("base64");
    const headers = {
      Connection: "Upgrade",
      Upgrade: "websocket",
      "Sec-WebSocket-Version": "13",
      "Sec-WebSocket-Key": key,
      "Sec-WebSocket-Protocol": protocols.join(", "),
    };
    const asked = request(url.replace(/^ws/, "http"), { headers });
    asked.on("upgrade", (response, socket, head) => {
      const right = createHash("sha1").update(key + GUID).digest("base64");
      if (response.headers["sec-websocket-accept"] !== right) return void socket.destroy();
      this.#socket = socket;
      this.readyState = 1;
      socket.on("data", (data) => this.#read(data));
      socket.on("error", () => {});
      socket.on("close", () => this.#closed());
      this.onopen?.({});
      if (head.length > 0) this.#read(head);
    });
    asked.on("response", (response) => {
      response.resume();
      this.#closed();
    });
    asked.on("error", () => this.#closed());
    asked.end();
  }

  send(text) {
    this.#write(TEXT, Buffer.from(text));
  }

  close(code = 1000, reason = "") {
    if (this.readyState > 1) return;
    this.readyState = 2;
    const body = Buffer.alloc(2);
    body.writeUInt16BE(code);
    this.#write(CLOSE, Buffer.concat([body, Buffer.from(reason)]));
    this.#socket?.end();
  }

  #write(opcode, payload) {
    const { length } = payload;
    const head = length < 126 ? Buffer.alloc(2) : length < 65_536 ? Buffer.alloc(4) : Buffer.alloc(10);
    head[0] = 0x80 | opcode;
    head[1] = 0x80 | (length < 126 ? length : length < 65_536 ? 126 : 127);
    if (head.length === 4) head.writeUInt16BE(length, 2);
    if (head.length === 10) head.writeBigUInt64BE(BigInt(length), 2);
    const mask = randomBytes(4);
    this.#socket?.write(Buffer.concat([head, mask, payload.map((byte, i) => byte ^ mask[i % 4])]));
  }

  #read(data) {
    this.#waiting = Buffer.concat([this.#waiting, data]);
    for (;;) {
      const buffer = this.#waiting;
      if (buffer.length < 2) return;
      let [from, length] = [2, buffer[1] & 0x7f];
      if (length === 126) [from, length] = [4, buffer.length < 4 ? Infinity : buffer.readUInt16BE(2)];
      else if (length === 127) [from, length] = [10, buffer.length < 10 ? Infinity : Number(buffer.readBigUInt64BE(2))];
      if (buffer.length < from + length) return;
      this.#waiting = buffer.subarray(from + length);
      this.#frame(buffer[0] & 0x0f, buffer.subarray(from, from + length));
    }
  }

  #frame(opcode, payload) {
    if (opcode === TEXT) {
      this.onmessage?.({ data: payload.toString() });
    } else if (opcode === PING) {
      this.#write(PONG, payload);
    } else if (opcode === CLOSE) {
      if (payload.length >= 2) this.#told = { code: payload.readUInt16BE(0), reason: payload.subarray(2).toString() };
      this.#socket.end();
    }
  }

  #closed() {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.onclose?.(this.#told);
  }
}
