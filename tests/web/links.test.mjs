/** Which parts of a text become links, and where they lead. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { linkify } from "../../chat/web/js/links.js";

const hrefs = (text) => linkify(text).filter(({ href }) => href).map(({ href }) => href);

const FOUND = [
  ["see https://example.com.", ["https://example.com/"]],
  ["(https://example.com/a)", ["https://example.com/a"]],
  ["https://en.example.org/wiki/Bell_(instrument)", ["https://en.example.org/wiki/Bell_(instrument)"]],
  ["(see https://en.example.org/wiki/Bell_(instrument))", ["https://en.example.org/wiki/Bell_(instrument)"]],
  ['"http://example.com/x?a=1&b=[2]",', ["http://example.com/x?a=1&b=[2]"]],
  ["http://example.com/a, http://example.com/b!", ["http://example.com/a", "http://example.com/b"]],
  ["<https://example.com/in-angles>", ["https://example.com/in-angles"]],
  ["HTTPS://EXAMPLE.COM/A", ["https://example.com/A"]],
  ["http://example.com/مرحبا.", ["http://example.com/%D9%85%D8%B1%D8%AD%D8%A8%D8%A7"]],
  ["http://[::1]:8000/x", ["http://[::1]:8000/x"]],
  ["http://example.com/a\u200bb", ["http://example.com/a"]],
  ["http://example.com/\u202etxt.exe", ["http://example.com/"]],
];
for (const [text, expected] of FOUND) {
  test(`found: ${text}`, () => assert.deepEqual(hrefs(text), expected));
}

const HARMLESS = [
  "javascript:alert(1)",
  "JaVaScRiPt:alert(1)//http",
  "data:text/html,<script>alert(1)</script>",
  "vbscript:x",
  "file:///etc/passwd",
  "xhttp://example.com",
  "http://",
  "https://.",
  "https://user:password@example.com/",
  "https://bank.example@evil.example/",
  "<script>alert(1)</script>",
];
for (const text of HARMLESS) {
  test(`no link: ${text}`, () => assert.deepEqual(hrefs(text), []));
}

test("a link inside a dangerous one is only the link", () => {
  assert.deepEqual(hrefs("javascript:location='https://example.com'"), ["https://example.com/"]);
});

test("the pieces joined are the text, whatever it is", () => {
  const texts = [...FOUND.map(([text]) => text), ...HARMLESS, "", "a https://b.c d https://e.f", "\u202eabc\u2066"];
  for (const text of texts) assert.equal(linkify(text).map((piece) => piece.text).join(""), text);
});

test("a long line of almost-links is read in no time", () => {
  assert.equal(linkify("http://".repeat(4_000)).map((piece) => piece.text).join("").length, 28_000);
  assert.deepEqual(hrefs(`https://example.com/${")".repeat(4_000)}`), ["https://example.com/"]);
});
