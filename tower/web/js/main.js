/** The page, put together. Everything else here gets what it needs from this module and knows nothing of the rest. */

import { Acts } from "./acts.js";
import { Api } from "./api.js";
import { Badge } from "./badge.js";
import { isStale } from "./connection.js";
import { byId, say } from "./dom.js";
import { Feed } from "./feed.js";
import { Gate } from "./gate.js";
import { History } from "./history.js";
import { Notes } from "./notes.js";
import { current } from "./rollout.js";
import { Servers } from "./servers.js";
import { Past, Story } from "./story.js";
import { Summary } from "./summary.js";
import { Token } from "./token.js";
import { Wrong, wrongWords } from "./wrong.js";

const TICK_MS = 500; // of what tells how old the data are
const PAST = 50; // rollouts that are listed
const TOAST_MS = 6_000; // long enough to read two lines

const token = new Token();
const api = new Api(() => token.value);
const feed = new Feed("/v1/events", () => token.value, { state: connection, fleet: came, note: (note) => notes.add(note, fleet?.servers.map(({ id }) => id) ?? []) });
const gate = new Gate(byId("gate-form"), (given) => {
  token.keep(given);
  feed.start();
});
const badge = new Badge(byId("status"), () => feed.start());
const wrong = new Wrong(byId("wrong"), byId("spoken"));
const summary = new Summary(byId("summary"));
const story = new Story(byId("rollout"));
const past = new Past(byId("past-list"), byId("past-tally"), byId("past-none"));
const notes = new Notes(byId("notes-list"), byId("notes-none"));
const acts = new Acts(byId("act"), byId("unlock"), api, token, toast);
const servers = new Servers(
  {
    table: byId("servers-table"),
    body: byId("servers-body"),
    filter: byId("filter"),
    sort: byId("sort"),
    tally: byId("servers-tally"),
    empty: byId("servers-empty"),
  },
  (server, verb) => acts.open(server, verb),
);
const history = new History();
let fleet = null; // the last that came
let rollouts = []; // those of before, newest first
let told = ""; // the rollout that ran when they were last asked for
let lost = null; // the status by which the token that was kept was refused
let toasting = null;
let drawing = null;

function connection(state) {
  const refused = state.name === "refused";
  if (refused) {
    const tried = token.value !== null;
    token.forget();
    if (tried && byId("gate").hidden) {
      lost = state.status; // but where anybody may look, one may still do that
      feed.start();
      return;
    }
    for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
    byId("app").hidden = true;
    byId("gate").hidden = false;
    gate.ask(lost ?? state.status, tried || lost !== null);
    lost = null;
    document.title = "Belfry tower";
  } else if (state.name === "live") {
    gate.passed();
    lost = null;
    byId("gate").hidden = true;
    told = "";
  }
  if (!refused && byId("gate").hidden) byId("app").hidden = false;
  tick();
}

/** Draw what came last: when several have come since, as after a page was held up, those between are history. */
function came(latest) {
  drawing ??= setTimeout(() => {
    drawing = null;
    draw();
  });
  fleet = { ...latest, servers: history.complete(latest.servers, latest.now) };
}

function draw() {
  summary.show(fleet);
  story.show(current(fleet.rollout, rollouts, fleet.now), fleet.now);
  servers.show(fleet);
  byId("forget").hidden = token.value === null;
  const now = fleet.rollout ? `${fleet.rollout.id} ${fleet.rollout.state}` : "none";
  if (now !== told) {
    told = now;
    void lookBack();
  }
  tick();
}

async function lookBack() {
  try {
    rollouts = await api.rollouts(PAST);
    past.show(rollouts, PAST, fleet.now);
    story.show(current(fleet.rollout, rollouts, fleet.now), fleet.now);
  } catch {
    told = ""; // with the next fleet, once more; the connection says what is wrong meanwhile
  }
}

/** What changes by time alone. */
function tick() {
  const now = Date.now();
  const ageMs = feed.heardAt === null ? null : now - feed.heardAt;
  const stale = isStale(ageMs);
  badge.show(feed.state, ageMs, now);
  byId("app").classList.toggle("stale", stale);
  const words = wrongWords(fleet, stale ? feed.heardAt / 1_000 : null);
  wrong.show(words);
  if (byId("app").hidden) return;
  const title = words.tone === "bad" ? `! ${words.title}` : "Belfry tower";
  if (document.title !== title) document.title = title;
}

function toast(text) {
  const element = byId("toast");
  say(element, text);
  element.hidden = false;
  clearTimeout(toasting);
  toasting = setTimeout(() => {
    element.hidden = true;
    say(element, "");
  }, TOAST_MS);
}

byId("forget").addEventListener("click", () => {
  token.forget();
  location.reload();
});
addEventListener("online", () => feed.start());
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) feed.start(); // a tab that slept does not wait for its backoff
});
setInterval(tick, TICK_MS);
feed.start();
