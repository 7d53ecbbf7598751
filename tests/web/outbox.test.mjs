/** What is not acknowledged yet: its order, what is in flight, and what a storage keeps of it. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Outbox, newNonce } from "../../chat/web/belfry/outbox.js";
import { FakeStorage } from "./fakes.mjs";

const add = (outbox, nonce, room = "lobby", now = 1_000) => outbox.add({ nonce, room, text: nonce, user: "u1", now });

test("one a room is in flight, the oldest; refused ones do not stand in the way", () => {
  const outbox = new Outbox();
  for (const nonce of ["a", "b"]) add(outbox, nonce);
  add(outbox, "c", "ops");
  assert.equal(outbox.next("lobby").nonce, "a");
  outbox.entry("a").state = "sent";
  assert.equal(outbox.next("lobby"), null);
  assert.equal(outbox.next("ops").nonce, "c");
  outbox.refuse("a", { code: "x", message: "x", temporary: false });
  assert.equal(outbox.next("lobby").nonce, "b");
});

test("a connection that is lost puts what was in flight back where it was", () => {
  const outbox = new Outbox();
  for (const nonce of ["a", "b"]) add(outbox, nonce);
  outbox.entry("a").state = "sent";
  outbox.rewind();
  assert.equal(outbox.next("lobby").nonce, "a");
});

test("a renewed one goes last, under its old nonce", () => {
  const outbox = new Outbox();
  for (const nonce of ["a", "b"]) add(outbox, nonce);
  outbox.refuse("a", { code: "x", message: "x", temporary: false });
  assert.equal(outbox.renew("b", "u1"), null);
  outbox.renew("a", "u1");
  assert.deepEqual(outbox.entries("lobby").map(({ nonce }) => nonce), ["b", "a"]);
});

test("a clock that goes back changes no order", () => {
  const outbox = new Outbox();
  add(outbox, "a", "lobby", 2_000);
  add(outbox, "b", "lobby", 1_000);
  assert.deepEqual(outbox.entries("lobby").map(({ nonce }) => nonce), ["a", "b"]);
});

test("the storage keeps order, refusals and nothing else; what is in flight is not known to have arrived", () => {
  const storage = new FakeStorage();
  storage.setItem("somebody.else", "{");
  const outbox = new Outbox(storage);
  for (const nonce of ["a", "b", "c"]) add(outbox, nonce);
  outbox.entry("a").state = "sent";
  outbox.refuse("b", { code: "text_invalid", message: "no", temporary: false });
  outbox.remove("c");
  const again = new Outbox(storage);
  assert.deepEqual(again.entries().map(({ nonce, state }) => [nonce, state]), [["a", "waiting"], ["b", "refused"]]);
  again.remove("a");
  again.remove("b");
  assert.equal(storage.length, 1);
});

test("a storage that was meddled with, is full or is forbidden costs no message of this page", () => {
  const storage = new FakeStorage();
  storage.setItem("belfry.unsent.x", "not JSON");
  storage.setItem = () => {
    throw new Error("QuotaExceededError");
  };
  const outbox = new Outbox(storage);
  add(outbox, "a");
  assert.equal(outbox.next("lobby").nonce, "a");
});

test("nonces are printable, short enough for the wire, and different", () => {
  const nonces = new Set(Array.from({ length: 1_000 }, newNonce));
  assert.equal(nonces.size, 1_000);
  for (const nonce of nonces) assert.match(nonce, /^[!-~]{1,64}$/);
});
