/** The whole fleet in a few large figures. */

import { h, say } from "./dom.js";
import { together, totals, versions } from "./fleet.js";
import { Spark } from "./spark.js";
import { count, counted, NOTHING, rate } from "./words.js";

export class Summary {
  #people = figure("People connected", new Spark());
  #sends = figure("Messages a second", new Spark());
  #ready = figure("Servers ready");
  #version = figure("Version");

  /** @param {HTMLElement} element the <dl> */
  constructor(element) {
    element.append(...[this.#people, this.#sends, this.#ready, this.#version].map(({ box }) => box));
  }

  show({ servers, now }) {
    const sum = totals(servers);
    say(this.#people.value, count(sum.people));
    this.#people.spark.show(together(servers, 1), now);
    say(this.#sends.value, rate(sum.sends));
    say(this.#sends.beside, `${rate(sum.deliveries)} deliveries`);
    this.#sends.spark.show(together(servers, 2), now);
    say(this.#ready.value, count(sum.ready));
    say(this.#ready.beside, `of ${count(sum.servers)}`);
    const running = versions(servers);
    say(this.#version.value, running[0]?.[0] ?? NOTHING);
    const others = running.slice(1, 3).map(([version, number]) => `${version} on ${count(number)}`);
    if (running.length > 1) others.unshift(`on ${counted(running[0][1], "server")}`);
    say(this.#version.beside, others.join(", "));
  }
}

function figure(name, spark = null) {
  const value = h("span", { class: "value" }, NOTHING);
  const beside = h("span", { class: "beside" });
  const box = h("div", {}, h("dt", {}, name), h("dd", {}, value, beside), spark?.element);
  return { box, value, beside, spark };
}
