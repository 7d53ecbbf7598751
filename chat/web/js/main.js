/** The page, put together. Everything else here gets what it needs from this module and knows nothing of the rest. */

import { Belfry } from "../belfry.js";
import { Announcer } from "./announcer.js";
import { Api } from "./api.js";
import { avatar } from "./avatar.js";
import { Badge } from "./badge.js";
import { Composer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { Desk } from "./desk.js";
import { bdi, byId } from "./dom.js";
import { Drafts } from "./drafts.js";
import { Drawers } from "./drawers.js";
import { JoinForm } from "./joinform.js";
import { NewRoom } from "./newroom.js";
import { People } from "./people.js";
import { RoomList } from "./roomlist.js";
import { HOME, hashOf, roomOf } from "./route.js";
import { SafeStorage } from "./safe-storage.js";
import { Session } from "./session.js";
import { Switcher } from "./switcher.js";
import { Typing } from "./typing.js";

const EXPIRED = "Your session has ended. Come in again: what you were writing is kept.";

const storage = new SafeStorage();
const session = new Session(storage);
const api = new Api(() => session.pass?.token ?? null, () => leave(EXPIRED));
const joinForm = new JoinForm(byId("join"), session, api, enter);

if (session.valid()) enter();
else leave(session.pass === null ? "" : EXPIRED);

/**
 * Back to the way in. When the conversation has been shown, the page is loaded anew, so that nothing of it is left over;
 * the browser keeps the entry's state over that.
 */
function leave(why) {
  const way = session.pass === null || session.pass.guest ? "name" : "token";
  session.end();
  if (byId("app").hidden) {
    joinForm.show(history.state?.leave ?? { why, way });
    history.replaceState(null, "");
  } else {
    history.replaceState({ leave: { why, way } }, "");
    location.reload();
  }
}

function enter() {
  joinForm.hide();
  byId("app").hidden = false;
  const belfry = new Belfry({
    url: location.origin,
    token: ({ fresh }) => (fresh ? null : (session.pass?.token ?? null)), // a guest's token cannot be renewed
    user: session.pass?.user?.id,
    client: "belfry web",
    storage,
  });
  const me = () => belfry.user ?? session.pass?.user ?? { id: "", name: "" };
  const desk = new Desk({ belfry, api, storage });
  const badge = new Badge(byId("status"), belfry);
  const announcer = new Announcer(byId("announcer"));
  const typing = new Typing(byId("typing"));
  const people = new People(byId("people-list"), [byId("people-count"), byId("people-button-count")], me, api);
  const newRoom = new NewRoom(byId("new-room"), api, ({ name, title }) => {
    desk.open(name, title);
    void roomList.load();
    go(name);
  });
  const composer = new Composer(byId("composer"), new Drafts(storage), {
    said: (text) => {
      if (!desk.say(conversation.open.name, text)) return false;
      conversation.spoke();
      return true;
    },
    typed: () => belfry.typing(conversation.open.name),
  });
  const conversation = new Conversation(
    { log: byId("log"), notice: byId("notice"), skeleton: byId("skeleton"), jump: byId("jump"), back: byId("back") },
    desk,
    me,
    { edit: (text) => composer.edit(text), create: (name) => newRoom.show({ name }) },
  );
  const roomList = new RoomList(
    {
      search: byId("search"),
      sort: byId("sort"),
      open: byId("open-rooms"),
      all: byId("all-rooms"),
      openTitle: byId("open-title"),
      allTitle: byId("all-title"),
    },
    desk,
    api,
    (title) => newRoom.show({ title }),
  );
  const switcher = new Switcher(byId("switcher"), desk, api, ({ name, title }) => {
    desk.open(name, title);
    go(name);
  });
  const drawers = new Drawers(
    [
      { panel: byId("rooms"), button: byId("rooms-button"), narrow: "(max-width: 759px)" },
      { panel: byId("people"), button: byId("people-button"), narrow: "(max-width: 1099px)" },
    ],
    byId("main"),
    byId("scrim"),
  );

  /** Show the room that the address names. */
  function show() {
    const name = roomOf(location.hash);
    if (name === null) {
      history.replaceState(null, "", hashOf(conversation.open?.name ?? HOME));
      show();
      return;
    }
    const open = desk.open(name);
    conversation.show(open);
    writeHere();
    roomList.current(open.name);
    people.show(open);
    typing.clear();
    drawers.chosen();
    named(open);
    if (matchMedia("(hover: hover)").matches) composer.focus(); // on a phone it would call the keyboard up
  }

  function go(name) {
    if (roomOf(location.hash) === name) show();
    else location.hash = hashOf(name);
  }

  /** The composer writes to the room that is shown, if one can be written to. */
  function writeHere() {
    const { name, title, stage } = conversation.open;
    byId("composer").hidden = stage === "shut";
    composer.room(stage === "shut" ? null : name, title);
  }

  /** The room's title, above the log and in the tab, with what is unread anywhere. */
  function named(open) {
    byId("room-title").replaceChildren(bdi(open.title));
    const unread = [...desk.rooms.values()].reduce((sum, { timeline }) => sum + timeline.unread, 0);
    document.title = `${unread > 0 ? `(${unread > 99 ? "99+" : unread}) ` : ""}${open.title} · Belfry`;
  }

  addEventListener("hashchange", show);
  desk.on("changed", (room) => {
    if (conversation.open === null) return;
    named(conversation.open);
    if (room === conversation.open.name) writeHere();
  });
  desk.on("opened", () => {
    if (conversation.open && !desk.rooms.has(conversation.open.name)) go([...desk.rooms.keys()].at(-1) ?? HOME);
  });
  desk.on("people", (room) => room === conversation.open?.name && people.show(conversation.open));
  desk.on("typing", ({ room, user }) => room === conversation.open?.name && typing.started(user));
  desk.on("spoken", ({ room, from, text }) => {
    if (room !== conversation.open?.name) return;
    typing.stopped(from.id);
    announcer.say(`${from.name}: ${text}`);
  });
  belfry.on("welcome", ({ user, limits, url }) => {
    api.at(url);
    session.known(user);
    composer.limit(limits.text_chars);
    showMe(user);
  });
  belfry.on("state", (state) => {
    byId("stopped").hidden = state.name !== "stopped";
    if (state.name !== "stopped") return;
    if (state.code === 4500) leave(EXPIRED);
    else byId("stopped-why").textContent = state.message;
  });
  byId("stopped-again").addEventListener("click", () => belfry.connect());
  byId("new-room-button").addEventListener("click", () => newRoom.show({ title: byId("search").value.trim() }));
  byId("skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address's hash names rooms
    composer.focus();
  });
  byId("jump-button").addEventListener("click", () => switcher.show());
  byId("sign-out").addEventListener("click", () => {
    composer.room(null); // or its draft would be kept once more when the page is left
    desk.forget();
    storage.clear("belfry.");
    leave("");
  });
  addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key.toLowerCase() === "k") {
      event.preventDefault();
      switcher.show();
    } else if (event.key === "Escape" && !document.querySelector("dialog[open]") && !event.isComposing) {
      conversation.catchUp();
    }
  });

  function showMe(user) {
    byId("me").replaceChildren(avatar(user), bdi(user.name, { class: "name" }));
  }

  if (/Mac|iP(hone|ad)/.test(navigator.platform)) byId("jump-button").querySelector("kbd").textContent = "⌘K";
  showMe(me());
  badge.show(belfry.state);
  show();
  belfry.connect();
  void roomList.load();
}
