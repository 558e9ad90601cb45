"use strict";

// The page of a leaderboard, made from the JSON in #data. What comes from results goes into the
// document as text and attribute values, never as markup.

/* Data: tables come as columns, shared values as indices into a pool. */

const content = JSON.parse(document.getElementById("data").textContent);

function rowsOf(columns) {
  const names = Object.keys(columns);
  const rows = names.length ? columns[names[0]] : [];
  return rows.map((_, i) => Object.fromEntries(names.map((name) => [name, columns[name][i]])));
}

const pooled = (index) => (index == null ? null : content.pool[index]);

for (const board of content.boards) {
  board.rows = rowsOf(board.rows);
  board.runs = rowsOf(board.runs);
  const runs = Map.groupBy(board.runs, (run) => run.row);
  board.span = scaleOf(board);
  board.rows.forEach((row, order) => Object.assign(row, { board, order, runs: runs.get(row.number) ?? [] }));
}
const boards = content.boards;
const allRows = boards.flatMap((board) => board.rows);

/* Words and numbers. */

const MISSING = "\u2013";
const KINDS = {
  ranked: "ranked",
  provisional: "provisional",
  evaluated: "evaluated weights",
  failed: "failed",
  superseded: "superseded",
  published: "published",
};
const COLUMN = Object.fromEntries(content.columns.map((name, i) => [name, i]));
const cell = (row, column) => row.cells?.[COLUMN[column]] ?? "";
const number = (value) => Number(value.toPrecision(4)).toLocaleString("en");
const signed = (value, digits) => (value < 0 ? "\u2212" : "+") + Math.abs(value).toFixed(digits);

function scoreText(board, value) {
  return board.scale === 100 ? (100 * value).toFixed(2) : String(Number(value.toPrecision(4)));
}

function minusPublished(row) {
  if (row.minus_published == null) return "";
  const value = row.minus_published * row.board.scale;
  return row.board.scale === 100 ? signed(value, 2) : signed(Number(value.toPrecision(3)), 3);
}

/** What a row sets by hand beside its name, and its variant. */
const details = (row) => row.label.slice(row.name.length).trim();

const probability = (p) => (p < 0.001 ? p.toExponential(1) : p.toPrecision(2));

function flattened(value, path = "") {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return [[path, value]];
  return Object.entries(value).flatMap(([name, part]) => flattened(part, path ? `${path}.${name}` : name));
}

const spelled = (value) => (typeof value === "string" ? value : JSON.stringify(value));

/* Elements. */

/** An element; `on...` attributes are listeners, children are elements or text. */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value == null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
}

const byId = (id) => document.getElementById(id);

/** Text in which web addresses and arXiv numbers are links. */
function linked(text) {
  const parts = text.split(/(https:\/\/[^\s<>"]+[^\s<>".,;:)]|arXiv:\d{4}\.\d{4,5})/);
  return parts.map((part, i) => {
    if (i % 2 === 0) return part;
    const href = part.startsWith("arXiv:") ? `https://arxiv.org/abs/${part.slice(6)}` : part;
    return h("a", { href, rel: "noopener noreferrer" }, part);
  });
}

function definitions(pairs, isSet = () => false) {
  return h(
    "dl",
    {},
    pairs
      .filter(([, value]) => value != null && value !== "")
      .map(([name, value]) => [
        h("dt", {}, name),
        h("dd", isSet(name) ? { class: "set", title: "set by hand" } : {}, value),
      ]),
  );
}

const titled = (title, ...children) => h("section", {}, h("h3", {}, title), ...children);

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(button.previousElementSibling);
    button.textContent = "Selected: copy it";
  }
  setTimeout(() => {
    button.textContent = "Copy";
  }, 2000);
}

function select(label, options, chosen, change) {
  return h(
    "select",
    { "aria-label": label, onchange: ({ target }) => change(target.value) },
    options.map(([value, text]) => h("option", { value, selected: value === chosen }, text)),
  );
}

/** A table of strings or elements; `columns` are pairs of a heading and what a row has there. */
function tableOf(columns, rows, attributes) {
  return h(
    "table",
    attributes,
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        columns.map(([head]) => h("th", { scope: "col" }, head)),
      ),
    ),
    h(
      "tbody",
      {},
      rows.map((row) =>
        h(
          "tr",
          {},
          columns.map(([, value]) => h("td", {}, value(row))),
        ),
      ),
    ),
  );
}

/* Columns of a board. `best` is the direction in which a first click sorts, -1 for the largest first
   and none for that of the metric; `kept` columns stay on a narrow screen; `optional` ones need a value. */

/** A column that shows what the text pages show. */
const said = (key, name, best, title, more) => ({
  key,
  head: name,
  best,
  title,
  value: (row) => row[key],
  cell: (row) => cell(row, name),
  ...more,
});

const COLUMNS = [
  said("rank", "rank", 1, "rank among rows of 3 seeds or more; in brackets the place of a provisional row among all", {
    kept: true,
    value: (row) => row.order,
    cell: rankCell,
  }),
  said("name", "model", 1, "MODEL:PRESET, and what was set by hand", {
    kept: true,
    left: true,
    value: (row) => row.label.toLowerCase(),
    cell: nameCell,
  }),
  said("score", null, null, "mean over seeds \u00b1 standard deviation; beneath it, its 95% interval", {
    kept: true,
    value: (row) => row.mean,
    cell: scoreCell,
  }),
  said("groups", "group", 1, "rows that share a letter are not shown to differ by a paired test", {
    left: true,
    optional: true,
    cell: (row) => row.groups ?? "",
  }),
  said("minus_published", "\u2212 publ.", -1, "measured minus published", { optional: true, cell: publishedCell }),
  said("budget", "budget", -1, "the length of training", {
    value: (row) => pooled(row.train)?.max_steps ?? pooled(row.train)?.epochs,
  }),
  said("seeds", "seeds", -1, "seeds that ended well, of all"),
  said("val", "val", null, "validation score"),
  said("parameters", "params", 1, "parameters", {
    cell: (row) => cell(row, "params") || (row.parameters?.toLocaleString("en") ?? ""),
  }),
  said("flops", "FLOPs", 1, "of one forward pass for one example"),
  said("train_seconds", "train", 1, "time of training, median over seeds"),
  said("latency_seconds", "latency", 1, "of one forward pass at batch 1"),
  said("peak_bytes", "peak", 1, "peak memory: resident on a CPU, allocated on a GPU"),
  said("settings", "settings", 1, "published recipe, searched by validation, or custom", {
    left: true,
    value: (row) => (row.weights == null ? row.settings : null),
    cell: (row) => (row.weights == null && row.settings) || "",
  }),
];

const columnsOf = (board) =>
  COLUMNS.filter((column) => !column.optional || board.rows.some((row) => column.value(row) != null)).map((column) => ({
    ...column,
    head: column.head ?? board.heading,
    best: column.best ?? (board.higher ? -1 : 1),
  }));

const classOf = (column, ...more) => [column.left && "left", column.kept && "key", ...more].filter(Boolean).join(" ");

function rankCell(row) {
  return row.published == null ? cell(row, "rank") : h("span", { title: "published: never ranked" }, "publ.");
}

function nameCell(row) {
  const title = pooled(row.published)?.source;
  const button = h("button", { type: "button", "aria-expanded": "false", title }, row.name);
  button.addEventListener("click", (event) => {
    event.stopPropagation();
    row.view.toggle(row);
  });
  row.button = button;
  const dot = h("span", { class: "family", "aria-hidden": "true" });
  if (row.family) dot.style.setProperty("--c", colourOf(row.family));
  const link = h(
    "a",
    {
      class: "link",
      href: `#${row.anchor}`,
      title: "link to this row",
      "aria-label": `link to ${row.label}`,
    },
    "#",
  );
  link.addEventListener("click", (event) => event.stopPropagation());
  const notes = [details(row), kindNote(row), pooled(row.cause)].map(
    (text, i) => text && h("span", { class: i === 2 ? "more cause" : "more" }, text),
  );
  return row.published == null ? [button, dot, link, notes] : [button, dot, notes, link];
}

/** By what a row was selected that was not trained here, with its source on hover. */
function kindNote(row) {
  const known = pooled(row.published) ?? pooled(row.weights);
  if (!known) return null;
  const words = [
    row.published == null && "evaluated weights",
    known.source_kind === "unverified" && "unverified",
    known.selection === "test" && h("span", { class: "warn" }, "selected on test"),
    row.published == null && known.selection === "unknown" && "selection unknown",
  ].filter(Boolean);
  const title = `${known.source ?? "source unknown"}; selection: ${known.selection}`;
  return words.length
    ? h(
        "span",
        { title },
        words.flatMap((word, i) => (i ? [", ", word] : [word])),
      )
    : null;
}

function scoreCell(row) {
  return row.score ?? [cell(row, "score"), row.mean == null ? null : interval(row)];
}

/** The range of a board's scores, without rows that are far behind the others. */
function scaleOf(board) {
  const sign = board.higher ? 1 : -1;
  const rows = board.rows.filter((row) => row.mean != null).toSorted((a, b) => sign * (b.mean - a.mean));
  if (!rows.length) return null;
  const middle = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
  const far = 4 * Math.abs(rows[0].mean - middle(rows.map((row) => row.mean)));
  const means = rows.map((row) => row.mean).filter((mean) => !far || Math.abs(mean - rows[0].mean) <= far);
  const width = middle(rows.filter((row) => row.low != null).map((row) => row.high - row.low));
  const [low, high] = [Math.min(...means), Math.max(...means)];
  const margin = width || 0.1 * (high - low) || 1;
  return { low: low - margin, high: high + margin };
}

function interval(row) {
  const scale = row.board.span;
  const at = (value) => Math.min(100, Math.max(0, (100 * (value - scale.low)) / (scale.high - scale.low)));
  const bar = h("span", { class: "interval", "aria-hidden": "true" });
  if (row.mean < scale.low || row.mean > scale.high) {
    bar.classList.add(row.mean < scale.low ? "below" : "above");
    return bar;
  }
  if (row.low != null) {
    const line = h("i");
    line.style.left = `${at(row.low)}%`;
    line.style.width = `${at(row.high) - at(row.low)}%`;
    bar.append(line);
    bar.title = `95% interval ${scoreText(row.board, row.low)} to ${scoreText(row.board, row.high)}`;
  }
  const mean = h("b");
  mean.style.left = `${at(row.mean)}%`;
  bar.append(mean);
  return bar;
}

function publishedCell(row) {
  if (row.minus_published == null) return "";
  const better = row.minus_published > 0 === row.board.higher;
  return h("span", { class: better ? "plus" : "minus" }, minusPublished(row));
}

/* A board: its section, table and figures, built when it is first needed. */

class BoardView {
  constructor(board) {
    this.board = board;
    this.columns = columnsOf(board);
    this.sorted = null;
    this.shown = board.rows;
    for (const row of board.rows) row.view = this;
    this.body = h("div", {
      class: "box",
      tabindex: "0",
      role: "region",
      "aria-label": board.title,
    });
    this.figures = h("div", { class: "figures" });
    this.by = h(
      "label",
      { class: "by" },
      "sort by ",
      select(
        "Sort by",
        this.columns.map((column) => [column.key, column.head]),
        "rank",
        (key) => this.sort(key),
      ),
    );
    this.element = h(
      "section",
      { class: "board", id: board.anchor, "aria-label": board.title },
      h(
        "header",
        {},
        h("h2", {}, h("a", { href: `#${board.anchor}` }, board.title)),
        board.official === false && h("span", { class: "tag warn" }, "not the official data"),
        board.budget === "steps" && h("span", { class: "tag" }, "step budget"),
        publishedToggle(board),
        this.by,
      ),
      h("p", { class: "about" }, `${board.about}.`),
      this.body,
      this.figures,
    );
    this.element.style.containIntrinsicHeight = `auto ${8 + 3.1 * board.rows.length + 26}rem`;
    this.plots = figuresOf(board, () => this.shown);
    this.figures.append(...this.plots.map((plot) => plot.element));
  }

  build() {
    if (this.table) return;
    this.heads = this.columns.map((column) =>
      h(
        "th",
        {
          scope: "col",
          class: classOf(column),
          title: column.title,
        },
        h("button", { type: "button", onclick: () => this.sort(column.key) }, column.head),
      ),
    );
    this.rows = h(
      "tbody",
      {},
      this.board.rows.map((row) => this.line(row)),
    );
    this.table = h("table", {}, h("thead", {}, h("tr", {}, this.heads)), this.rows);
    this.body.replaceChildren(this.table);
    this.show(this.shown);
  }

  line(row) {
    row.element = h(
      "tr",
      { class: `row ${row.standing}`, id: row.anchor },
      this.columns.map((column) =>
        h(
          "td",
          {
            class: classOf(column, column.key),
          },
          column.cell(row),
        ),
      ),
    );
    row.element.addEventListener("click", () => {
      if (!String(getSelection())) this.toggle(row);
    });
    return row.element;
  }

  /** Show these rows alone. */
  show(rows) {
    this.shown = rows;
    this.element.hidden = !rows.length;
    if (this.table) {
      const shown = new Set(rows);
      for (const row of this.board.rows) {
        row.element.hidden = !shown.has(row);
        if (row.panel) row.panel.hidden = row.element.hidden || row.button.getAttribute("aria-expanded") === "false";
      }
    }
    for (const plot of this.plots) plot.refresh();
  }

  /** By a column, best first; again: the other way; a third time: in the board's own order. */
  sort(key) {
    this.build();
    const column = this.columns.find((one) => one.key === key);
    const turns = [column.best, -column.best, 0];
    const turn = this.sorted?.key === key ? turns[(turns.indexOf(this.sorted.direction) + 1) % 3] : column.best;
    this.sorted = turn === 0 ? null : { key, direction: turn };
    const order = this.sorted ? compareBy(column.value, turn) : (a, b) => a.order - b.order;
    this.heads.forEach((head, i) => {
      if (this.sorted && this.columns[i].key === key)
        head.setAttribute("aria-sort", turn > 0 ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
    this.by.querySelector("select").value = this.sorted ? key : "rank";
    const rows = this.board.rows.toSorted(order);
    this.rows.append(...rows.flatMap((row) => (row.panel ? [row.element, row.panel] : [row.element])));
  }

  toggle(row, open = row.button?.getAttribute("aria-expanded") !== "true") {
    this.build();
    if (open && !row.panel) {
      const id = `${row.anchor}-details`;
      row.panel = h("tr", { class: "details", id }, h("td", { colspan: this.columns.length }, panelOf(row)));
      row.button.setAttribute("aria-controls", id);
      row.element.after(row.panel);
    }
    if (row.panel) row.panel.hidden = !open;
    row.element.classList.toggle("open", open);
    row.button.setAttribute("aria-expanded", String(open));
  }
}

/** Published numbers can be put out of the way, on all boards at once. */
function publishedToggle(board) {
  const count = board.rows.filter((row) => row.published != null).length;
  if (!count) return null;
  const box = h("input", {
    type: "checkbox",
    checked: true,
    onchange: () => {
      for (const other of document.querySelectorAll(".with-published input")) other.checked = box.checked;
      filter();
    },
  });
  return h("label", { class: "with-published" }, box, `${count} published`);
}

/** Numbers by value, text by letters; what is missing comes last either way. */
function compareBy(value, direction) {
  return (a, b) => {
    const [one, other] = [value(a), value(b)];
    if (one == null || other == null) return (one == null) - (other == null) || a.order - b.order;
    const before = typeof one === "string" ? one.localeCompare(other, "en", { numeric: true }) : one - other;
    return direction * before || a.order - b.order;
  };
}

/* What a row opens to. */

function panelOf(row) {
  return h("div", { class: "panel" }, row.published == null ? measuredPanel(row) : publishedPanel(row));
}

function publishedPanel(row) {
  const published = pooled(row.published);
  const rest = Object.entries(published).filter(
    ([name]) => !["model", "score", "source", "task", "task_config", "metric"].includes(name),
  );
  return [
    h("p", { class: "small" }, "A published number: it stands beside the measured ones and is ranked with none."),
    definitions([
      ["score", row.score],
      ["source", h("span", {}, linked(published.source))],
      ...rest
        .filter(([, value]) => value != null)
        .map(([name, value]) => [name.replaceAll("_", " "), h("span", {}, linked(spelled(value)))]),
    ]),
  ];
}

function measuredPanel(row) {
  const task = row.board.task;
  const overrides = pooled(row.overrides) ?? {};
  const of = (kind, value) =>
    Object.keys(value).length
      ? definitions(
          flattened(value).map(([name, part]) => [name, part === null ? "none" : spelled(part)]),
          (name) => `${kind}.${name}` in overrides,
        )
      : h("p", { class: "small" }, "nothing to set");
  const weights = pooled(row.weights);
  const model = pooled(row.model);
  const plots = rowFigures(row);
  return [
    titled("Do it again", ...commands(row)),
    titled("Runs", h("div", { class: "scroll" }, runsTable(row)), ...errorsOf(row)),
    plots.length
      ? h(
          "div",
          { class: "figures" },
          plots.map((plot) => plot.element),
        )
      : null,
    h(
      "div",
      { class: "columns" },
      titled("Result", definitions(outcome(row))),
      titled(`Task: ${task.name}, version ${task.version}`, of("task", task.config)),
      titled(`Model: ${model.name}, version ${model.version}`, of("model", model.config)),
      row.train == null ? null : titled("Training", of("train", pooled(row.train))),
      weights &&
        titled(
          "Weights",
          definitions([
            ["SHA-256", row.weights_sha256],
            ...Object.entries(weights).map(([name, value]) => [name, value && h("span", {}, linked(value))]),
          ]),
        ),
      ...provenances(row),
    ),
  ].filter(Boolean);
}

function commands(row) {
  const trained = row.train != null;
  const again = row.runs.map((run) => (trained ? `${row.command} --seed ${run.seed}` : row.command));
  const every = [...new Set(again)].join("\n");
  const file = `seqbench reproduce ${row.path}`;
  return [every, file].map((text) => {
    const button = h("button", { type: "button", class: "plain", onclick: () => copy(text, button) }, "Copy");
    const words = text.split(/(\n| (?=--))/).map((word, i) => (i % 2 ? word : h("span", { class: "option" }, word)));
    return h("div", { class: "command" }, h("pre", {}, words), button);
  });
}

function runsTable(row) {
  const names = [...new Set(row.runs.flatMap((run) => Object.keys(run.learned ?? {})))];
  const score = (value) => (value == null ? MISSING : scoreText(row.board, value));
  const columns = [
    ["seed", (run) => run.seed],
    [
      "test",
      (run) =>
        run.test == null
          ? h("span", { class: "bad" }, run.status)
          : `${score(run.test)} \u00b1 ${score(run.standard_error)}`,
    ],
    ["val", (run) => score(run.val)],
    ["epoch", (run) => (run.epoch == null ? MISSING : `${run.epoch} of ${run.curve?.val_score.length ?? "?"}`)],
    ...names.map((name) => [
      name.replaceAll("_", " "),
      (run) => run.learned?.[name]?.map(number).join(", ") ?? MISSING,
    ]),
    ["started", (run) => run.started_at.slice(0, 16).replace("T", " ")],
    ["run", (run) => h("code", {}, run.id)],
  ];
  return tableOf(columns, row.runs, { class: "seeds" });
}

function errorsOf(row) {
  return row.runs
    .filter((run) => run.error != null)
    .map((run) =>
      h(
        "details",
        {},
        h("summary", { class: "bad" }, `seed ${run.seed}: ${run.status}`),
        h("pre", { class: "error" }, pooled(run.error)),
      ),
    );
}

function outcome(row) {
  const below = row.below;
  const other = below && row.board.rows.find((one) => one.anchor.includes(below.other));
  return [
    ["standing", KINDS[row.standing]],
    [row.board.metric, cell(row, "score")],
    ["95% interval", row.low == null ? null : `${scoreText(row.board, row.low)} to ${scoreText(row.board, row.high)}`],
    ["minus published", minusPublished(row)],
    [
      "against the next",
      below &&
        `${signed(below.difference * row.board.scale, row.board.scale === 100 ? 2 : 4)} over ${other?.label ?? below.other}, p = ${probability(below.p_adjusted)} (${below.test} over ${below.n.toLocaleString("en")} examples, Holm)`,
    ],
    ["parameters", cell(row, "params")],
    ["FLOPs", cell(row, "FLOPs")],
    ["training", cell(row, "train")],
    ["latency", cell(row, "latency")],
    ["throughput", cell(row, "throughput")],
    ["peak memory", cell(row, "peak")],
    ["settings", cell(row, "settings")],
    ["recipe", pooled(row.recipe) && h("span", {}, linked(pooled(row.recipe)))],
  ];
}

/** Where it ran and on which data, once for all runs that share it. */
function provenances(row) {
  return [...Map.groupBy(row.runs, (run) => `${run.provenance}/${run.data}`).values()].map((runs) => {
    const where = pooled(runs[0].provenance);
    const data = pooled(runs[0].data);
    const plugin = ({ distribution, version, entry_point: point }) => `${distribution} ${version} (${point})`;
    const commit = where.commit && [h("code", {}, where.commit), where.dirty ? " with changes" : ""];
    const seeds = runs.length < row.runs.length ? `, seed ${runs.map((run) => run.seed).join(", ")}` : "";
    return titled(
      `Provenance${seeds}`,
      definitions([
        ["machine", `${where.device_name}, ${where.device}, ${where.threads} thread${where.threads === 1 ? "" : "s"}`],
        ["platform", where.platform],
        ["commit", commit && h("span", {}, commit)],
        ["seqbench", where.seqbench],
        ["task from", plugin(where.task_plugin)],
        ["model from", plugin(where.model_plugin)],
        [
          "packages",
          [`Python ${where.python}`, ...Object.entries(where.packages).map((pair) => pair.join(" "))].join(", "),
        ],
        ...(data
          ? [
              ["data", data.official ? "official" : `not official: ${data.label ?? "unnamed"}`],
              ["training data", h("code", {}, data.fit_sha256)],
              ["test data", data.test_sha256 && h("code", {}, data.test_sha256)],
            ]
          : []),
      ]),
    );
  });
}

/* Plots: drawn when they come into view, and again when theme, filter or a choice changes. */

const PALETTE = [
  "#4269d0",
  "#efa018",
  "#e8604f",
  "#3ca951",
  "#a463f2",
  "#38a5a5",
  "#e377b0",
  "#9c6b4e",
  "#7f8fa6",
  "#b5a300",
];
const SYMBOLS = [
  "circle",
  "diamond",
  "square",
  "triangle-up",
  "cross",
  "x",
  "triangle-down",
  "star",
  "pentagon",
  "hexagon",
];
const GLYPHS = "\u25cf\u25c6\u25a0\u25b2\u271a\u2716\u25bc\u2605\u2b1f\u2b22";
const HOLLOW = "\u25cb";
const DASHES = ["solid", "dash", "dot"];
const ROWS_DRAWN = 12;

const familyIndex = (family) => content.families.indexOf(family);
const colourOf = (family) => (family == null ? ink("muted") : PALETTE[familyIndex(family) % PALETTE.length]);
const symbolOf = (family) => (family == null ? "circle" : SYMBOLS[familyIndex(family) % SYMBOLS.length]);
const glyphOf = (family) => GLYPHS[SYMBOLS.indexOf(symbolOf(family))];

const probe = document.body.appendChild(h("span", { hidden: true }));

/** The colour of a variable of the style sheet, as it is now. */
function ink(name) {
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}

/** Text for Plotly, which would take some tags and %{...} for its own. */
const plain = (text) => text.replace(/[&<>{]/g, (mark) => `&#${mark.charCodeAt(0)};`);

const touch = matchMedia("(pointer: coarse)").matches;

/** Four buttons and no others: by itself the library offers to send a plot to its maker. */
const CONFIG = {
  responsive: true,
  displaylogo: false,
  displayModeBar: touch ? false : "hover",
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
  plotlyServerURL: "",
};

const inView = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      target.plot.inView = isIntersecting;
      target.plot.draw();
    }
  },
  { rootMargin: "200px" },
);

class Plot {
  /**
   * `make` gives {traces, layout, legend, note}. It is told which of the `options` is chosen, pairs of a
   * value and its name, and whether the box beside them is checked, if it has a name.
   */
  constructor(title, make, options = [], box = null) {
    this.make = make;
    this.stale = true;
    this.inView = false;
    this.chosen = options[0]?.[0];
    this.checked = true;
    const change = (what) => {
      Object.assign(this, what);
      this.refresh();
    };
    this.canvas = h("div", { class: "plot" });
    this.canvas.plot = this;
    this.note = h("span", { class: "note" });
    this.legend = h("ul", { class: "legend" });
    this.element = h(
      "figure",
      {},
      h(
        "figcaption",
        {},
        h("strong", {}, title),
        options.length > 0 && select(title, options, this.chosen, (chosen) => change({ chosen })),
        box &&
          h(
            "label",
            {},
            h("input", {
              type: "checkbox",
              checked: true,
              onchange: ({ target }) => change({ checked: target.checked }),
            }),
            box,
          ),
        this.note,
      ),
      this.canvas,
      this.legend,
    );
    inView.observe(this.canvas);
    Plot.all.push(this);
  }

  refresh() {
    this.stale = true;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.draw(), 100);
  }

  draw(now = this.inView) {
    if (!this.stale || !now) return;
    this.stale = false;
    const { traces, layout, note = "", legend = [] } = this.make(this.chosen, this.checked);
    this.note.textContent = note;
    this.legend.replaceChildren(...legend.map(legendEntry));
    const first = !this.canvas.children.length;
    Plotly.react(this.canvas, traces, framed(layout), CONFIG);
    if (first) this.canvas.on("plotly_click", ({ points }) => points[0].customdata && show(points[0].customdata));
  }
}
Plot.all = [];

/** A name with a glyph or a piece of its line. */
function legendEntry({ name, color, glyph, dash }) {
  const mark = h("span", { class: glyph ? "glyph" : `piece ${dash}`, "aria-hidden": "true" }, glyph);
  mark.style.color = color;
  return h("li", {}, mark, name);
}

function framed({ xaxis = {}, yaxis = {}, ...layout }) {
  const [text, muted, rule, raised] = ["ink", "muted", "rule", "raised"].map(ink);
  const axis = {
    gridcolor: rule,
    linecolor: muted,
    tickcolor: muted,
    zeroline: false,
    showline: true,
    ticks: "outside",
    ticklen: 4,
    tickfont: { color: muted },
  };
  const named = (one) => ({
    ...axis,
    ...one,
    title: { text: one.title, standoff: 8, font: { size: 12 } },
  });
  return {
    font: { family: getComputedStyle(document.body).fontFamily, size: 11, color: text },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 48, r: 12, t: 12, b: 44 },
    hovermode: "closest",
    hoverlabel: {
      bgcolor: raised,
      bordercolor: muted,
      font: { color: text, size: 12 },
      align: "left",
    },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: muted, activecolor: text },
    showlegend: false,
    dragmode: touch ? false : "zoom",
    // Room made for the labels of both axes at once may need new labels, without end.
    xaxis: { ...named(xaxis), tickangle: 0 },
    yaxis: { ...named(yaxis), automargin: true },
    ...layout,
  };
}

const place = (row) => (row.position == null ? "" : `${cell(row, "rank")} `);

function hover(row, ...lines) {
  const more = details(row);
  const short = more.length > 70 ? `${more.slice(0, 69)}\u2026` : more;
  return (
    [`<b>${plain(row.name)}</b>`, short && plain(short), ...lines.map(plain)].filter(Boolean).join("<br>") +
    "<extra></extra>"
  );
}

/** An axis of whole numbers up to some. */
const wholeAxis = (title, most) => ({ title, ...(most <= 12 && { dtick: 1 }) });

const epochAxis = (traces) => wholeAxis("epoch", Math.max(...traces.map(({ x }) => x.length)));

/** A logarithmic axis with as many ticks a decade as there is room for. */
function logAxis(title, values, tickformat = "~g") {
  const positive = values.filter((value) => value > 0).sort((a, b) => a - b);
  const span = positive.at(-1) / positive[0];
  if (span === 1) return { title, type: "log", tickformat, tickvals: positive };
  return { title, type: "log", tickformat, dtick: span < 4 ? "D1" : span < 500 ? "D2" : 1 };
}

function scoreAxis(board, rows) {
  const values = rows.filter((row) => row.mean != null).map((row) => row.mean);
  const wide = board.scale === 1 && Math.min(...values) > 0 && Math.max(...values) > 20 * Math.min(...values);
  const title = plain(board.scale === 100 ? `${board.metric} (%)` : board.metric);
  return wide ? logAxis(title, values) : { title };
}

/** Begin with the scores that are not far behind; what to say of the others. */
function focused(axis, board, rows) {
  const { low, high } = board.span;
  const beyond = rows.filter((row) => row.mean < low || row.mean > high).length;
  if (!beyond || axis.type === "log") return "";
  const top = board.scale === 100 ? Math.min(high, 1 + 0.02 * (high - low)) : high;
  axis.range = [low * board.scale, top * board.scale];
  return `${beyond} far off; double-${touch ? "tap" : "click"} shows all`;
}

/** Plotly's error bars from a score's interval. */
const bars = (board, rows, colour) => ({
  type: "data",
  symmetric: false,
  thickness: 1,
  width: 0,
  color: colour,
  array: rows.map((row) => (row.high == null ? 0 : (row.high - row.mean) * board.scale)),
  arrayminus: rows.map((row) => (row.low == null ? 0 : (row.mean - row.low) * board.scale)),
});

function figuresOf(board, shown) {
  return [costPlot(board, shown), curvePlot(board, shown), learnedPlot(board, shown)].filter(Boolean);
}

const COSTS = [
  { key: "parameters", name: "parameters", unit: 1, title: "parameters", format: "~s" },
  { key: "flops", name: "FLOPs", unit: 1, title: "FLOPs of one forward pass", format: "~s" },
  {
    key: "train_seconds",
    name: "training time",
    unit: 60,
    title: "training time (min)",
    format: "~g",
  },
  {
    key: "latency_seconds",
    name: "latency",
    unit: 1e-3,
    title: "latency at batch 1 (ms)",
    format: "~g",
  },
  { key: "peak_bytes", name: "peak memory", unit: 1e6, title: "peak memory (MB)", format: "~g" },
];

/** Scores against a cost, with the front that no other competing row is better than in both. */
function costPlot(board, shown) {
  const has = (row, cost) => row.mean != null && row[cost.key] > 0;
  const costs = COSTS.filter((cost) => board.rows.filter((row) => has(row, cost)).length > 1);
  if (!costs.length) return null;
  const make = (key, log) => {
    const cost = COSTS.find((one) => one.key === key);
    const rows = shown().filter((row) => has(row, cost));
    const x = (row) => row[key] / cost.unit;
    const front = frontOf(
      rows.filter((row) => row.position != null),
      board,
      cost,
    );
    const axis = log ? logAxis(cost.title, rows.map(x), cost.format) : { title: cost.title, tickformat: cost.format };
    const layout = { xaxis: axis, yaxis: scoreAxis(board, rows) };
    return {
      traces: [frontTrace(front, board, x), ...costTraces(rows, board, x, cost.title)],
      layout,
      legend: costLegend(rows, front),
      note: focused(layout.yaxis, board, rows),
    };
  };
  return new Plot(
    "Score against",
    make,
    costs.map((cost) => [cost.key, cost.name]),
    "log",
  );
}

/** Markers in the colour of each family, hollow if published. */
function costTraces(rows, board, x, title) {
  const groups = Map.groupBy(rows, (row) => `${row.published == null}/${row.family ?? ""}`);
  return [...groups.values()].map((group) => {
    const [{ family, published }] = group;
    const hollow = published != null;
    return {
      type: "scatter",
      mode: "markers",
      x: group.map(x),
      y: group.map((row) => row.mean * board.scale),
      error_y: bars(board, group, colourOf(family)),
      marker: {
        color: colourOf(family),
        symbol: symbolOf(family) + (hollow ? "-open" : ""),
        size: 9,
        line: { width: hollow ? 1.5 : 0 },
      },
      customdata: group.map((row) => row.anchor),
      hovertemplate: group.map((row) =>
        hover(row, place(row) + (row.score ?? cell(row, "score")), `${title}: ${number(x(row))}`),
      ),
    };
  });
}

function frontTrace(front, board, x) {
  return {
    type: "scatter",
    mode: "lines",
    line: { shape: "hv", width: 1, color: ink("muted"), dash: "dot" },
    hoverinfo: "skip",
    x: front.map(x),
    y: front.map((row) => row.mean * board.scale),
  };
}

function costLegend(rows, front) {
  const families = [...new Set(rows.map((row) => row.family))].sort();
  return [
    ...families.map((family) => ({
      name: family ?? "others",
      color: colourOf(family),
      glyph: family == null ? HOLLOW : glyphOf(family),
    })),
    rows.some((row) => row.published != null) && { name: "hollow: published", color: ink("muted"), glyph: HOLLOW },
    front.length > 1 && { name: "Pareto front", color: ink("muted"), dash: "dot" },
  ].filter(Boolean);
}

function frontOf(rows, board, cost) {
  const sign = board.higher ? 1 : -1;
  let best = -Infinity;
  return rows
    .toSorted((a, b) => a[cost.key] - b[cost.key] || sign * (b.mean - a.mean))
    .filter((row) => {
      if (sign * row.mean <= best) return false;
      best = sign * row.mean;
      return true;
    });
}

/** A line's look: the family's colour, and a dash that tells rows of one family apart. */
function lineOf(row, rows) {
  const before = rows.filter((other) => other.family === row.family).indexOf(row);
  return { color: colourOf(row.family), width: 1.5, dash: DASHES[before % DASHES.length] };
}

/** One line a run: `points` gives the y of a run at 1, 2, ... */
function runTraces(rows, points) {
  return rows.flatMap((row) =>
    row.runs
      .map((run) => ({ run, y: points(run) }))
      .filter(({ y }) => y?.length)
      .map(({ run, y }) => ({
        type: "scatter",
        mode: y.length > 40 ? "lines" : "lines+markers",
        marker: { size: 4 },
        x: y.map((_, i) => i + 1),
        y,
        line: lineOf(row, rows),
        opacity: 0.85,
        customdata: y.map(() => row.anchor),
        hovertemplate: hover(row, `seed ${run.seed}`, "%{x}: %{y:.5~g}"),
      })),
  );
}

function limited(rows, drawable) {
  const able = rows.filter((row) => row.runs.some(drawable));
  const drawn = able.slice(0, ROWS_DRAWN);
  const note = able.length > drawn.length ? `the first ${drawn.length} of ${able.length} rows; filter for others` : "";
  const legend = drawn.map((row) => ({ name: place(row) + row.name, ...lineOf(row, drawn) }));
  return { drawn, note, legend };
}

const CURVES = [
  ["val_score", "validation score"],
  ["val_loss", "validation loss"],
  ["train_loss", "training loss"],
];

function curvePlot(board, shown) {
  const curves = CURVES.filter(([key]) => board.runs.some((run) => run.curve?.[key].some((value) => value != null)));
  if (!curves.length) return null;
  const make = (key) => {
    const { drawn, ...words } = limited(shown(), (run) => run.curve);
    const isScore = key === "val_score";
    const traces = runTraces(drawn, (run) => run.curve && scaled(run.curve[key], isScore ? board.scale : 1));
    const title = isScore ? `validation ${scoreAxis(board, []).title}` : new Map(CURVES).get(key);
    const yaxis = isScore
      ? { title }
      : logAxis(
          title,
          traces.flatMap(({ y }) => y),
        );
    return { traces, ...words, layout: { xaxis: epochAxis(traces), yaxis } };
  };
  return new Plot("Learning curves", make, curves);
}

const scaled = (values, scale) => values.map((value) => (value == null ? null : value * scale));

const named = (names) => names.map((name) => [name, name.replaceAll("_", " ")]);

function learnedPlot(board, shown) {
  const names = [...new Set(board.runs.flatMap((run) => Object.keys(run.learned ?? {})))];
  if (!names.length) return null;
  const make = (name) => {
    const { drawn, ...words } = limited(shown(), (run) => run.learned?.[name]);
    const traces = runTraces(drawn, (run) => run.learned?.[name]);
    const yaxis = { title: plain(name.replaceAll("_", " ")), rangemode: "tozero" };
    return { traces, ...words, layout: { xaxis: { ...epochAxis(traces), title: "layer" }, yaxis } };
  };
  return new Plot("Learned, layer by layer", make, named(names));
}

/** The plots of one row: its curves, and what it learned epoch by epoch. */
function rowFigures(row) {
  const runs = row.runs.filter((run) => run.curve);
  if (!runs.length) return [];
  const { scale } = row.board;
  const colour = (i) => PALETTE[i % PALETTE.length];
  const epochs = Math.max(...runs.map((run) => run.curve.val_score.length));
  const seeds = runs.map((run, i) => ({
    name: `seed ${run.seed}`,
    color: colour(i),
    dash: "solid",
  }));
  const score = new Plot("Validation score", () => ({
    traces: runs.flatMap((run, i) => {
      const values = scaled(run.curve.val_score, scale);
      const best = {
        type: "scatter",
        mode: "markers",
        x: [run.epoch],
        y: [values[run.epoch - 1]],
        marker: { color: colour(i), size: 8 },
        hoverinfo: "skip",
      };
      return [curveOf(run, values, "validation", { color: colour(i) }), ...(run.epoch ? [best] : [])];
    }),
    legend: [...seeds, { name: "chosen epoch", color: ink("muted"), glyph: GLYPHS[0] }],
    layout: { xaxis: wholeAxis("epoch", epochs), yaxis: scoreAxis(row.board, []) },
  }));
  const loss = new Plot("Loss", () => {
    const traces = runs.flatMap((run, i) => [
      curveOf(run, run.curve.train_loss, "training", { color: colour(i), dash: "dot" }),
      curveOf(run, run.curve.val_loss, "validation", { color: colour(i) }),
    ]);
    const legend = [
      ...seeds,
      { name: "training", color: ink("muted"), dash: "dot" },
      { name: "validation", color: ink("muted"), dash: "solid" },
    ];
    return {
      traces,
      legend,
      layout: {
        xaxis: epochAxis(traces),
        yaxis: logAxis(
          "loss",
          traces.flatMap(({ y }) => y),
        ),
      },
    };
  });
  return [score, loss, ...learnedFigures(runs)];
}

function curveOf(run, y, name, look) {
  return {
    type: "scatter",
    mode: y.length > 1 ? "lines" : "markers",
    x: y.map((_, i) => i + 1),
    y,
    line: { width: 1.5, ...look },
    hovertemplate: `${plain(name)}, seed ${run.seed}<br>epoch %{x}: %{y:.5~g}<extra></extra>`,
  };
}

function learnedFigures(all) {
  const runs = all.filter((run) => run.curve.learned);
  const names = [...new Set(runs.flatMap((run) => run.curve.learned.flatMap((learned) => Object.keys(learned ?? {}))))];
  if (!names.length) return [];
  const look = (layer, i) => ({ color: PALETTE[layer % PALETTE.length], dash: DASHES[i % DASHES.length] });
  const make = (name) => {
    const layers = runs.map((run) => [
      ...Array(Math.max(...run.curve.learned.map((learned) => learned?.[name]?.length ?? 0))).keys(),
    ]);
    const traces = runs.flatMap((run, i) =>
      layers[i].map((layer) =>
        curveOf(
          run,
          run.curve.learned.map((learned) => learned?.[name]?.[layer] ?? null),
          `layer ${layer + 1}`,
          look(layer, i),
        ),
      ),
    );
    const legend = layers[0].map((layer) => ({ name: `layer ${layer + 1}`, ...look(layer, 0) }));
    if (runs.length > 1)
      legend.push(...runs.map((run, i) => ({ name: `seed ${run.seed}`, ...look(0, i), color: ink("muted") })));
    return { traces, legend, layout: { xaxis: epochAxis(traces), yaxis: { title: plain(name.replaceAll("_", " ")) } } };
  };
  return [new Plot("Learned", make, named(names))];
}

/* The same task at several lengths. */

function lengthSections() {
  const family = (board) => {
    const { length, ...config } = board.task.config;
    return typeof length === "number" && !board.superseded
      ? JSON.stringify([board.task.name, board.task.version, config, board.metric, board.budget, board.official])
      : null;
  };
  const families = Map.groupBy(
    boards.filter((board) => family(board) !== null),
    family,
  );
  return [...families.values()]
    .filter((group) => new Set(group.map((board) => board.task.config.length)).size > 1)
    .map((group) => {
      const plot = new Plot("Score against length", () => lengthPlot(group));
      const title = `${group[0].task.name} over length`;
      const anchor = `length-${group[0].anchor}`;
      return {
        anchor,
        title,
        plot,
        element: h(
          "section",
          { class: "board", id: anchor, "aria-label": title },
          h("header", {}, h("h2", {}, h("a", { href: `#${anchor}` }, title))),
          h(
            "p",
            { class: "about" },
            "Of several rows of a model and preset at one length, the one best by validation, of those with three seeds if there are any.",
          ),
          plot.element,
        ),
      };
    });
}

function lengthPlot(group) {
  const rows = group.flatMap((board) => board.view.shown.filter((row) => row.position != null));
  const models = [...Map.groupBy(rows, (row) => row.name).values()].map(preferredByLength);
  const firsts = models.map(([first]) => first);
  const traces = models.map((line) => {
    const [first] = line;
    return {
      type: "scatter",
      mode: "lines+markers",
      x: line.map((row) => row.board.task.config.length),
      y: line.map((row) => row.mean * row.board.scale),
      error_y: bars(first.board, line, colourOf(first.family)),
      line: lineOf(first, firsts),
      marker: { symbol: symbolOf(first.family), size: 7 },
      customdata: line.map((row) => row.anchor),
      hovertemplate: line.map((row) => hover(row, `length ${row.board.task.config.length}`, cell(row, "score"))),
    };
  });
  const legend = firsts.map((row) => ({ name: row.name, ...lineOf(row, firsts) }));
  return {
    traces,
    legend,
    layout: {
      xaxis: {
        title: "length of the sequence",
        type: "log",
        tickformat: "~g",
        tickvals: [...new Set(rows.map((row) => row.board.task.config.length))],
      },
      yaxis: scoreAxis(group[0], rows),
    },
  };
}

/** One row a length, the preferred one, as in the overall table. */
function preferredByLength(rows) {
  const lengths = Map.groupBy(rows, (row) => row.board.task.config.length);
  return [...lengths.entries()]
    .sort(([a], [b]) => a - b)
    .map(([, group]) => group.toSorted((a, b) => a.preference - b.preference || a.order - b.order)[0]);
}

/* The overall tables. */

function overallSection(table) {
  const title = table.budget === "full" ? "Overall" : "Overall, step budgets";
  const anchor = `overall-${table.budget}`;
  const anchors = new Map(boards.filter((board) => !board.superseded).map((board) => [board.title, board.anchor]));
  const grouped = table.rows.some((row) => row.groups);
  const head = ["rank", "model", "mean rank", ...(grouped ? ["group"] : [])];
  const provisional = table.rows.some((row) => row.provisional);
  const difference = table.critical_difference;
  const metrics = new Set(table.metrics);
  const first = table.boards.map((_, board) => Math.min(...table.rows.map((row) => row.ranks[board])));
  return {
    anchor,
    title,
    rows: table.rows,
    element: h(
      "section",
      { class: "board", id: anchor, "aria-label": title },
      h("header", {}, h("h2", {}, h("a", { href: `#${anchor}` }, title))),
      h(
        "p",
        { class: "about" },
        `Mean rank over ${table.boards.length} boards, among the models that stand on all of them; rank and score on each, the best of these in bold${metrics.size === 1 ? `: ${table.metrics[0]}` : ""}.`,
        difference != null &&
          ` Mean ranks that differ by less than ${difference.toFixed(2)} are not shown to differ (Nemenyi); such rows share a letter.`,
        provisional && " (n): provisional, fewer than three seeds on a board.",
      ),
      h(
        "div",
        { class: "box", tabindex: "0", role: "region", "aria-label": title },
        h(
          "table",
          { class: table.boards.length > 5 ? "overall many" : "overall" },
          h(
            "thead",
            {},
            h(
              "tr",
              {},
              head.map((name) => h("th", { scope: "col", class: name === "model" ? "left of" : "of" }, name)),
              table.boards.map((name, board) =>
                h(
                  "th",
                  { scope: "col", class: "of one" },
                  h("a", { href: `#${anchors.get(name)}` }, metrics.size === 1 ? name : `${name}: ${table.metrics[board]}`),
                ),
              ),
            ),
          ),
          h(
            "tbody",
            {},
            table.rows.map((row) =>
              h(
                "tr",
                {},
                h("td", {}, row.provisional ? `(${row.rank})` : row.rank),
                h("td", { class: "left" }, h("strong", {}, row.name)),
                h("td", {}, row.mean_rank),
                grouped && h("td", {}, row.groups),
                row.ranks.map((rank, board) => scoredRank(rank, row.scores[board], rank === first[board])),
              ),
            ),
          ),
        ),
      ),
      missingFrom(table),
    ),
  };
}

/** A rank with the score and its marks below it; the spread is in the title. */
function scoredRank(rank, score, best) {
  return h(
    "td",
    { class: "one", title: score },
    rank,
    h(best ? "strong" : "span", { class: "score" }, score.replace(/ \u00b1 [\d.e+-]+/, "")),
  );
}

function missingFrom(table) {
  const missing = Object.entries(table.missing);
  if (!missing.length) return null;
  return h(
    "details",
    { class: "small" },
    h("summary", {}, `${missing.length} not in it, for want of a score on every board`),
    h(
      "ul",
      { class: "missing" },
      missing.map(([name, titles]) => h("li", {}, `${name}: none on ${titles.join(", ")}`)),
    ),
  );
}

/* The same networks at several sampling rates. */

function transferSection(table, number) {
  const anchor = `transfer-${number}`;
  const plot = new Plot("Score against the rate it is tested at", () => transferPlot(table));
  const cells = (row) =>
    row.cells.map((value, i) => {
      const own = i > 1 && table.rates[i - 2] === row.trained;
      return h("td", { class: i ? "" : "left" }, i === 0 || own ? h("strong", {}, value) : value);
    });
  return {
    anchor,
    title: table.title,
    element: h(
      "section",
      { class: "board", id: anchor, "aria-label": table.title },
      h("header", {}, h("h2", {}, h("a", { href: `#${anchor}` }, table.title))),
      h("p", { class: "about" }, `${table.heading}; ${table.note}; bold: the rate of its training.`),
      h(
        "div",
        { class: "box", tabindex: "0", role: "region", "aria-label": table.title },
        h(
          "table",
          { class: "overall transfer" },
          h(
            "thead",
            {},
            h(
              "tr",
              {},
              table.columns.map((name, i) => h("th", { scope: "col", class: i ? "of" : "left of" }, name)),
            ),
          ),
          h(
            "tbody",
            {},
            table.rows.map((row) => h("tr", {}, cells(row))),
          ),
        ),
      ),
      plot.element,
    ),
  };
}

function transferPlot(table) {
  const names = [...new Set(table.rows.map((row) => row.name))];
  const trained = [...new Set(table.rows.map((row) => row.trained))].sort((a, b) => b - a);
  const look = (row) => ({
    color: PALETTE[names.indexOf(row.name) % PALETTE.length],
    dash: DASHES[trained.indexOf(row.trained) % DASHES.length],
    width: 1.5,
  });
  const rate = (value) => table.names[table.rates.indexOf(value)];
  const traces = table.rows.map((row) => {
    const at = table.rates.map((_, i) => i).filter((i) => row.means[i] != null);
    return {
      type: "scatter",
      mode: "lines+markers",
      x: at.map((i) => table.rates[i]),
      y: at.map((i) => row.means[i] * table.scale),
      line: look(row),
      marker: { size: at.map((i) => (table.rates[i] === row.trained ? 10 : 6)) },
      hovertemplate: `<b>${plain(row.name)}</b><br>trained at ${rate(row.trained)}, tested at %{x}: %{y:.4~g}<extra></extra>`,
    };
  });
  const legend = table.rows.map((row) => ({ name: `${row.name}, trained at ${rate(row.trained)}`, ...look(row) }));
  return {
    traces,
    legend,
    note: "large: the rate of its training",
    layout: {
      xaxis: {
        title: "sampling rate in the test",
        type: "log",
        tickvals: table.rates,
        ticktext: table.names,
      },
      yaxis: { title: plain(table.heading) },
    },
  };
}

/* Filters: words, which all must be there, and facets, of which any choice within one will do. */

const FACETS = [
  { key: "family", title: "Model", of: (row) => row.family },
  { key: "standing", title: "Standing", of: (row) => row.standing, name: (value) => KINDS[value] },
  { key: "settings", title: "Settings", of: (row) => row.settings },
  {
    key: "data",
    title: "Data",
    of: ({ board }) => (board.official === null ? "unknown" : board.official ? "official" : "not official"),
  },
  {
    key: "budget",
    title: "Budget",
    of: ({ board }) => board.budget,
    name: (value) => (value === "full" ? "whole training" : "step budget"),
  },
];
const chosen = Object.fromEntries(FACETS.map(({ key }) => [key, new Set()]));

function searched(row) {
  row.words ??= [
    row.label,
    row.board.title,
    row.standing,
    row.settings,
    pooled(row.cause),
    pooled(row.published)?.source,
    ...row.runs.map((run) => run.id),
  ]
    .filter(Boolean)
    .join(" ")
    .toLowerCase();
  return row.words;
}

function filter() {
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const facets = FACETS.filter(({ key }) => chosen[key].size);
  const withPublished = document.querySelector(".with-published input")?.checked ?? true;
  const fits = (row) =>
    (withPublished || row.published == null) &&
    facets.every(({ key, of }) => chosen[key].has(of(row))) &&
    words.every((word) => searched(row).includes(word));
  const all = !words.length && !facets.length && withPublished;
  let count = 0;
  for (const board of boards) {
    const rows = all ? board.rows : board.rows.filter(fits);
    count += rows.length;
    if (rows.length !== board.view.shown.length || rows.some((row, i) => row !== board.view.shown[i]))
      board.view.show(rows);
    board.entry.hidden = !rows.length;
    board.entry.querySelector("small").textContent = rows.length;
  }
  for (const { plot } of lengths) plot.refresh();
  byId("count").textContent = all ? "" : `${count.toLocaleString("en")} of ${allRows.length.toLocaleString("en")} rows`;
  byId("nothing").hidden = count > 0;
  byId("active").hidden = !facets.length;
  byId("active").textContent = facets.length;
}

function clearFilter() {
  byId("search").value = "";
  for (const box of byId("facet-list").querySelectorAll("input")) box.checked = false;
  for (const set of Object.values(chosen)) set.clear();
  for (const box of document.querySelectorAll(".with-published input")) box.checked = true;
  filter();
}

function facetList() {
  return FACETS.map(({ key, title, of, name = (value) => value }) => {
    const counts = new Map();
    for (const row of allRows) if (of(row) != null) counts.set(of(row), (counts.get(of(row)) ?? 0) + 1);
    if (counts.size < 2) return null;
    const toggle = (value) => (event) => {
      chosen[key][event.target.checked ? "add" : "delete"](value);
      filter();
    };
    return h(
      "fieldset",
      {},
      h("legend", {}, title),
      [...counts]
        .sort(([a], [b]) => a.localeCompare(b))
        .map(([value, count]) =>
          h(
            "label",
            { class: "chip" },
            h("input", { type: "checkbox", name: key, value, onchange: toggle(value) }),
            h("span", {}, name(value), h("small", {}, count.toLocaleString("en"))),
          ),
        ),
    );
  }).filter(Boolean);
}

/* Addresses: #row-... opens a row, whatever the filter. */

const byAnchor = new Map(allRows.map((row) => [row.anchor, row]));

function show(anchor) {
  if (location.hash === `#${anchor}`) follow();
  else location.hash = anchor;
}

function follow() {
  const anchor = decodeURIComponent(location.hash.slice(1));
  const row = byAnchor.get(anchor);
  document.querySelector("tr.found")?.classList.remove("found");
  if (anchor) buildAll();
  if (!row) {
    byId(anchor)?.scrollIntoView();
    return;
  }
  if (!row.view.shown.includes(row)) clearFilter();
  row.view.toggle(row, true);
  row.element.classList.add("found");
  row.element.scrollIntoView({ block: "start" });
  row.button.focus({ preventScroll: true, focusVisible: false });
}

/* The theme: as the system says, until the button says otherwise. */

const root = document.documentElement;
const darkSystem = matchMedia("(prefers-color-scheme: dark)");

function switchTheme() {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : darkSystem.matches;
  root.dataset.theme = dark ? "light" : "dark";
  try {
    localStorage.setItem("theme", root.dataset.theme);
  } catch {
    /* remembered for this visit only */
  }
  redraw();
}

/** Draw the plots in view again, and the others once they come into view. */
function redraw() {
  for (const plot of Plot.all) {
    plot.stale = true;
    plot.draw();
  }
}

/** Everything, on white, in the width of a sheet; a plot takes its size when it is first drawn. */
function preparePrint() {
  root.dataset.printing = "";
  buildAll();
  for (const plot of Plot.all) {
    Plotly.purge(plot.canvas);
    plot.stale = true;
    plot.draw(plot.canvas.checkVisibility());
  }
}

function endPrint() {
  delete root.dataset.printing;
  for (const plot of Plot.all) Plotly.purge(plot.canvas);
  redraw();
}

/* The page. */

function buildAll() {
  for (const board of boards) board.view.build();
}

/** Build the first boards at once and the others when there is time. */
function buildInTurn() {
  const waiting = [...boards];
  const next = (deadline) => {
    do waiting.shift()?.view.build();
    while (waiting.length && deadline.timeRemaining() > 5);
    if (waiting.length) idle(next, { timeout: 100 });
  };
  const idle = window.requestIdleCallback ?? ((task) => setTimeout(() => task({ timeRemaining: () => 0 })));
  for (let i = 0; i < 2; i += 1) waiting.shift()?.view.build();
  idle(next, { timeout: 100 });
}

function entry(anchor, title, count) {
  return h("li", {}, h("a", { href: `#${anchor}` }, h("span", {}, title), h("small", {}, count)));
}

const part = (title) => h("li", { class: "part" }, title);

for (const board of boards) {
  board.view = new BoardView(board);
  board.entry = entry(board.anchor, board.title, board.rows.length);
}
const overall = content.overall.map(overallSection);
const lengths = lengthSections();
const transfers = content.transfers.map(transferSection);

function fillPage() {
  const current = boards.filter((board) => !board.superseded);
  const superseded = boards.filter((board) => board.superseded);
  const sections = [...overall, ...lengths, ...transfers];
  byId("toc").append(
    ...sections.map(({ anchor, title }) => entry(anchor, title, "")),
    ...(current.length ? [part("Boards"), ...current.map((board) => board.entry)] : []),
    ...(superseded.length ? [part("Superseded"), ...superseded.map((board) => board.entry)] : []),
    part("About"),
    entry("notes", "Notes", ""),
    entry("protocol", "Protocol", ""),
  );
  byId("boards").append(
    ...sections.map(({ element }) => element),
    ...current.map((board) => board.view.element),
    ...(superseded.length
      ? [
          h("h2", { class: "part-title" }, "Superseded"),
          h("p", { class: "about" }, "Of an older version of the task or the model: kept, not ranked."),
        ]
      : []),
    ...superseded.map((board) => board.view.element),
  );
  byId("footnotes").append(...content.notes.map((note) => h("li", {}, note)));
  byId("facet-list").append(...facetList());
  const runs = boards.reduce((sum, board) => sum + board.runs.length, 0);
  const count = (n, thing) => `${n.toLocaleString("en")} ${thing}${n === 1 ? "" : "s"}`;
  byId("size").textContent =
    `${count(runs, "run")} in ${count(allRows.filter((row) => row.published == null).length, "row")} on ${count(boards.length, "board")}.`;
}

fillPage();
buildInTurn();
byId("contents").open = matchMedia("(min-width: 68rem)").matches;
byId("search").addEventListener("input", filter);
byId("clear").addEventListener("click", clearFilter);
byId("theme").addEventListener("click", switchTheme);
darkSystem.addEventListener("change", redraw);
addEventListener("hashchange", follow);
addEventListener("beforeprint", preparePrint);
addEventListener("afterprint", endPrint);
document.addEventListener("click", ({ target }) => {
  if (!byId("facets").contains(target)) byId("facets").open = false;
});
document.addEventListener("keydown", ({ key }) => {
  if (key === "Escape") byId("facets").open = false;
});
if (location.hash) follow();
