/** A rolling redeploy, told: what happens now, what happened at each server, how it ended. Pure. */

import { count, counted, millis, span, took } from "./words.js";

/** 0.1.0 → 0.2.0, or the version alone where it stays the same. */
export function versionsOf({ version_from: from, version_to: to }) {
  if (!from || !to || from === to) return to || from || "";
  return `${from} → ${to}`;
}

/** What was measured: sockets handed over alive, sockets that had to come back, the longest time nobody was read. */
export function measured({ moved, drained, stall_ms: stall }) {
  const parts = [`${counted(moved, "socket")} handed over`];
  parts.push(drained === 0 ? "none told to reconnect" : `${count(drained)} told to reconnect`);
  if (moved > 0) parts.push(`longest stall ${millis(stall)}`);
  return parts.join(", ");
}

/** How a rollout stands or ended, in one line. */
export function verdict(rollout, now) {
  const figures = measured({ ...rollout, stall_ms: rollout.longest_stall_ms });
  const seconds = (rollout.ended_at ?? now) - rollout.began_at;
  if (rollout.state === "done") return `Done in ${took(seconds)}: ${figures}`;
  if (rollout.state === "failed") return `Failed after ${took(seconds)}${rollout.why ? `: ${rollout.why}` : ""}`;
  return `Running for ${span(seconds)}${rollout.moved + rollout.drained > 0 ? `: ${figures}` : ""}`;
}

/** The headline. */
export function headline(rollout) {
  const versions = versionsOf(rollout);
  if (rollout.state === "done") return `Rolled out ${versions}`.trim();
  if (rollout.state === "failed") return `The rollout of ${versions || "a redeploy"} failed`;
  const turn = places(rollout).findLast(({ stage }) => stage === "now");
  const where = turn && rollout.servers > 1 ? `, server ${count(turn.index)} of ${count(rollout.servers)}` : "";
  return `Rolling out ${versions}${where}`;
}

/**
 * Each server of the rollout in its order, and how far it is: "waits", "now", "done" or "failed".
 *
 * @returns {{index: number, server: string, stage: string}[]}
 */
export function places(rollout) {
  const found = new Map();
  for (const { server, index, step } of rollout.steps) {
    if (server) found.set(index, { index, server, stage: STAGES[step] ?? "now" });
  }
  const length = Math.max(rollout.servers, ...found.keys());
  return Array.from({ length }, (_, i) => found.get(i + 1) ?? { index: i + 1, server: "", stage: "waits" });
}

/** The steps worth a line: of a server whose turn is over only how it went. */
export function worthTelling(rollout) {
  const over = new Set(rollout.steps.filter(({ step }) => STAGES[step]).map(({ server }) => server));
  return rollout.steps.filter(({ step, server }) => !server || STAGES[step] || !over.has(server));
}

const STAGES = { handed: "done", drained: "done", failed: "failed" };

/** One step as a sentence. @returns {{text: string, tone: "" | "good" | "bad"}} */
export function told(step, rollout) {
  const { server, why } = step;
  const because = why ? `: ${why}` : "";
  switch (step.step) {
    case "began": {
      const servers = rollout.servers > 0 ? ` of ${counted(rollout.servers, "server")}` : "";
      return { text: `The redeploy${servers} began`, tone: "" };
    }
    case "starting":
      return { text: `${server}: the successor starts`, tone: "" };
    case "handing":
      return { text: `${server}: the living sockets go over`, tone: "" };
    case "handed":
      return { text: `${server}: ${measured(step)}`, tone: "good" };
    case "drained":
      return { text: `${server}: drained, ${counted(step.drained, "client")} told to reconnect${because}`, tone: "good" };
    case "failed":
      return { text: server ? `${server} failed${because}` : `The redeploy failed${because}`, tone: "bad" };
    case "done":
      return { text: "Done", tone: "good" };
    default:
      return { text: `${server ? `${server}: ` : ""}${step.step}${because}`, tone: "" }; // of a newer supervisor
  }
}

const FRESH = 120; // seconds for which a rollout that has ended is still told as what happens now

/** The rollout to tell: the one that runs, else the last one if it has just ended. @returns {object | null} */
export function current(running, past, now) {
  if (running !== null) return running;
  const last = past.find(({ ended_at: ended }) => ended !== null);
  return last && now - last.ended_at < FRESH ? last : null;
}
