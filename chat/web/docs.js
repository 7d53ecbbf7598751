// The API's documentation, drawn from /v1/openapi.json. Everything from there goes into the page as text, never as
// markup; `code` in its prose is the only formatting.

const ADDRESS = "/v1/openapi.json";
const MODELS = "#/components/schemas/";

const main = document.querySelector("main");
const contents = document.querySelector(".contents");

// --- small tools ----------------------------------------------------------------------------------------------

/** An element with attributes and children; strings become text. */
function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Text with `code` in it. */
function prose(text) {
  return text.split("`").map((part, index) => (index % 2 ? el("code", {}, part) : part));
}

function paragraphs(text) {
  return text
    .split(/\n\s*\n/)
    .filter((part) => part.trim())
    .map((part) => el("p", {}, ...prose(part.trim())));
}

// --- schemas --------------------------------------------------------------------------------------------------

/** Follows a reference; says which model it was. */
function resolve(api, schema) {
  if (!schema.$ref) return { name: null, schema };
  const name = schema.$ref.slice(MODELS.length);
  return { name, schema: api.components.schemas[name] };
}

/** A schema without its "or null", and whether it had one. */
function withoutNull(schema) {
  const options = schema.anyOf;
  if (!options) return { schema, nullable: false };
  const rest = options.find((option) => option.type !== "null");
  return { schema: { ...rest, ...(schema.description && { description: schema.description }) }, nullable: true };
}

/** What a value may be, in a few words. */
function kind(api, schema) {
  const { schema: bare, nullable } = withoutNull(schema);
  const { name, schema: whole } = resolve(api, bare);
  let words;
  if (whole.enum) words = whole.enum.map((one) => JSON.stringify(one)).join(" or ");
  else if (whole.type === "array") words = `list of ${kind(api, whole.items)}`;
  else if (name) words = name;
  else if (whole.format === "date-time") words = "moment, RFC 3339";
  else words = whole.type ?? "any";
  // 2**63-1 is "as large as the database's": a number to nobody
  const top = whole.maximum > 1e15 ? undefined : whole.maximum;
  if (whole.minimum !== undefined && top !== undefined) words += `, ${whole.minimum} to ${top}`;
  else if (whole.minimum !== undefined) words += `, at least ${whole.minimum}`;
  if (whole.maxLength !== undefined) words += `, at most ${whole.maxLength} characters`;
  if (schema.default !== undefined && schema.default !== null && schema.default !== "") {
    words += `, default ${JSON.stringify(schema.default)}`;
  }
  return nullable && schema.default === undefined ? `${words} or null` : words;
}

/** A value that fits a schema, for the examples. */
function example(api, schema, onlyRequired = false) {
  const { schema: bare } = withoutNull(schema);
  const { schema: whole } = resolve(api, bare);
  const given = schema.examples ?? whole.examples;
  if (given) return given[0];
  if (whole.enum) return whole.enum[0];
  if (whole.type === "array") return [example(api, whole.items)];
  if (whole.type === "object") {
    const fields = Object.entries(whole.properties ?? {});
    const shown = onlyRequired ? fields.filter(([name]) => whole.required?.includes(name)) : fields;
    return Object.fromEntries(shown.map(([name, field]) => [name, field.examples?.[0] ?? named(name) ?? example(api, field)]));
  }
  if (whole.format === "date-time") return "2026-11-23T10:00:00.123456Z";
  return { integer: 43, number: 1.5, boolean: true }[whole.type] ?? "…";
}

/** What a field of this name holds everywhere in this API. */
function named(name) {
  return { id: "u_7", name: "Ada", epoch: "k3f9", text: "hi", created_by: "u_7", count: 1, next_cursor: null, code: "room_missing" }[name];
}

// --- drawing --------------------------------------------------------------------------------------------------

function field(api, name, schema, required, depth = 0) {
  const { schema: bare } = withoutNull(schema);
  const inner = resolve(api, bare.type === "array" ? bare.items : bare);
  const description = schema.description ?? (inner.name ? inner.schema.description : undefined);
  const nested = inner.schema.type === "object" && depth < 2;
  return el(
    "div",
    {},
    el(
      "dt",
      {},
      el("code", {}, name),
      el("span", { class: "kind" }, kind(api, schema)),
      required ? el("span", { class: "required" }, "required") : null,
    ),
    el("dd", {}, ...prose(description ?? ""), nested ? fields(api, inner.schema, false, depth + 1) : null),
  );
}

function fields(api, schema, sayRequired, depth = 0) {
  const entries = Object.entries(schema.properties ?? {});
  const required = new Set(sayRequired ? schema.required : []);
  return el(
    "dl",
    { class: "fields" },
    ...entries.map(([name, one]) => field(api, name, one, required.has(name), depth)),
  );
}

function parameters(api, operation) {
  const places = [
    ["path", "In the address"],
    ["query", "Query"],
    ["header", "Headers"],
  ];
  return places.flatMap(([place, title]) => {
    const ours = operation.parameters.filter((one) => one.in === place);
    if (!ours.length) return [];
    const list = ours.map((one) =>
      field(api, one.name, { ...one.schema, description: one.description }, one.required && place !== "path"),
    );
    return [el("h4", {}, title), el("dl", { class: "fields" }, ...list)];
  });
}

function refusals(operation) {
  const failed = Object.entries(operation.responses).filter(([, response]) => response["x-codes"]);
  const rows = failed.flatMap(([status, response]) =>
    response.description.split("\n").map((line) => {
      const [, code, meaning] = line.match(/^- `(\w+)`: (.*)$/);
      return el(
        "div",
        {},
        el("dt", {}, el("code", {}, code), el("span", { class: "status" }, status)),
        el("dd", {}, ...prose(meaning)),
      );
    }),
  );
  return el(
    "details",
    { class: "refusals" },
    el("summary", {}, `Refusals (${rows.length})`),
    el("dl", { class: "fields" }, ...rows),
  );
}

function figure(title, text) {
  const copy = el("button", { type: "button" }, "Copy");
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      copy.textContent = "Copied";
    } catch {
      copy.textContent = "Not allowed"; // no permission, or a page without TLS
    }
    setTimeout(() => (copy.textContent = "Copy"), 2000);
  });
  copy.setAttribute("aria-label", `Copy: ${title}`);
  return el("figure", {}, el("figcaption", {}, el("span", {}, title), copy), el("pre", { tabindex: "0" }, text));
}

function curl(api, path, method, operation) {
  const address = location.origin + path.replaceAll(/\{\w+\}/g, "lobby");
  const lines = [method === "get" ? `curl '${address}'` : `curl -X ${method.toUpperCase()} '${address}'`];
  if (operation.security?.length !== 0) lines.push(`-H "Authorization: Bearer $TOKEN"`);
  for (const one of operation.parameters.filter((parameter) => parameter.in === "header")) {
    lines.push(`-H '${one.name}: ${one.schema.examples?.[0] ?? "…"}'`);
  }
  const body = operation.requestBody?.content["application/json"].schema;
  if (body) {
    const json = JSON.stringify(example(api, body, true)).replaceAll("'", "'\\''");
    lines.push(`-H 'Content-Type: application/json'`, `-d '${json}'`);
  }
  return lines.join(" \\\n  ");
}

function address(path) {
  return path.split(/(\{\w+\})/).map((part) => (part.startsWith("{") ? el("span", { class: "part" }, part) : part));
}

function drawOperation(api, path, method, operation) {
  const id = operation.operationId;
  const good = Object.entries(operation.responses).filter(([, response]) => !response["x-codes"]);
  const [status, response] = good.at(-1); // 201 rather than 200 where there are both
  const answer = response.content?.["application/json"].schema;
  const body = operation.requestBody?.content["application/json"].schema;
  const text = el(
    "div",
    {},
    el("h3", { id: `${id}-title` }, operation.summary),
    el("p", { class: "address" }, el("span", { class: `method ${method}` }, method.toUpperCase()), el("span", {}, ...address(path))),
    ...paragraphs(operation.description),
    ...parameters(api, operation),
    ...(body ? [el("h4", {}, "Body"), fields(api, resolve(api, body).schema, true)] : []),
    el("h4", {}, `Answer ${good.map(([one]) => one).join(" or ")}`),
    answer ? fields(api, resolve(api, answer).schema, false) : el("p", {}, "Nothing more."),
    refusals(operation),
  );
  const examples = el("div", { class: "examples" }, figure("Request", curl(api, path, method, operation)));
  if (answer) examples.append(figure(`Answer ${status}`, JSON.stringify(example(api, answer), null, 2)));
  return el("section", { class: "operation", id, "aria-labelledby": `${id}-title` }, text, examples);
}

function drawErrors(api) {
  const section = el("section", { id: "errors", "aria-labelledby": "errors-title" });
  const shape = { code: "room_missing", message: "no room is named tea" };
  const fits = {
    code: "bad_request",
    message: "the query does not fit: limit: expected int <= 100",
    details: [{ field: "limit", problem: "expected int <= 100" }],
  };
  section.append(
    el("h2", { id: "errors-title" }, "Errors"),
    el(
      "div",
      { class: "prose" },
      el("p", {}, ...prose("Every error has one shape. `code` is for programs and never changes its meaning; `message` is for people; `details` says which fields do not fit.")),
      figure("An error", JSON.stringify(shape, null, 2)),
      figure("A field that does not fit", JSON.stringify(fits, null, 2)),
      el("p", {}, ...prose("`Retry-After`, where it stands, says in seconds when the same may work. Repeat a send with the same `Idempotency-Key`: it is written once.")),
    ),
  );
  return section;
}

function draw(api) {
  const operations = Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  );
  const list = contents.querySelector("ul");
  const entry = (id, title, words) => el("li", { "data-words": words.toLowerCase() }, el("a", { href: `#${id}` }, title));
  main.replaceChildren(el("h1", { id: "top" }, `${api.info.title} HTTP API`));
  main.append(el("div", { class: "lead" }, ...paragraphs(api.info.description)));
  for (const tag of api.tags) {
    const ours = operations.filter((one) => one.operation.tags.includes(tag.name));
    const title = tag.name[0].toUpperCase() + tag.name.slice(1);
    main.append(
      el(
        "section",
        { id: tag.name, "aria-labelledby": `${tag.name}-title` },
        el("h2", { id: `${tag.name}-title` }, title),
        el("div", { class: "prose" }, ...paragraphs(tag.description)),
        ...ours.map((one) => drawOperation(api, one.path, one.method, one.operation)),
      ),
    );
    list.append(
      el("li", { class: "group" }, title),
      ...ours.map((one) =>
        entry(one.operation.operationId, one.operation.summary, `${one.operation.summary} ${one.method} ${one.path}`),
      ),
    );
  }
  main.append(drawErrors(api));
  list.append(el("li", { class: "group" }, "More"), entry("errors", "Errors", "errors codes retry"));
}

// --- moving about ---------------------------------------------------------------------------------------------

function follow() {
  const links = new Map([...contents.querySelectorAll("a")].map((link) => [link.hash.slice(1), link]));
  const seen = new Set();
  const watch = new IntersectionObserver(
    (entries) => {
      for (const one of entries) one.isIntersecting ? seen.add(one.target.id) : seen.delete(one.target.id);
      const current = [...links.keys()].find((id) => seen.has(id));
      for (const [id, link] of links) {
        if (id === current) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
      }
    },
    { rootMargin: "-72px 0px -60% 0px" },
  );
  for (const id of links.keys()) watch.observe(document.getElementById(id));
}

function find() {
  const input = contents.querySelector("input");
  const none = contents.querySelector(".none");
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/);
    let group = null;
    let found = 0;
    for (const item of contents.querySelectorAll("li")) {
      if (item.classList.contains("group")) {
        item.hidden = true;
        group = item;
        continue;
      }
      item.hidden = !words.every((word) => item.dataset.words.includes(word));
      if (!item.hidden) {
        group.hidden = false;
        found += 1;
      }
    }
    none.hidden = found > 0;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.ctrlKey && !event.metaKey && document.activeElement !== input) {
      event.preventDefault();
      contents.querySelector("details").open = true;
      input.focus();
    }
  });
}

function phone() {
  const details = contents.querySelector("details");
  const narrow = matchMedia("(max-width: 800px)");
  const set = () => (details.open = !narrow.matches);
  narrow.addEventListener("change", set);
  set();
  contents.addEventListener("click", (event) => {
    if (narrow.matches && event.target.closest("a")) details.open = false;
  });
}

async function start() {
  try {
    const response = await fetch(ADDRESS);
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    draw(await response.json());
  } catch (error) {
    const again = el("button", { type: "button" }, "Try again");
    again.addEventListener("click", () => location.reload());
    main.replaceChildren(
      el("div", { class: "failed", role: "alert" }, el("p", {}, `The API's description did not load: ${error.message}.`), again),
    );
    return;
  } finally {
    main.removeAttribute("aria-busy");
  }
  follow();
  find();
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

phone();
await start();
