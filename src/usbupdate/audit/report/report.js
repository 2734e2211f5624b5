"use strict";
/*
 * Makes the table of devices and the page of a device from the data in this file. What comes from logs is hostile: it becomes
 * text (`textContent`), never markup. Rows are made for one page of the table at a time, so that a large fleet opens at once.
 */
(() => {
  const ROWS_A_PAGE = 100;
  const data = JSON.parse(document.getElementById("data").textContent);
  const { rows, strings, grades, proofs } = data;
  const order = new Intl.Collator("en", { numeric: true }).compare;
  const byId = (id) => document.getElementById(id);
  const places = new Map(rows.map((row, at) => [row.device, at]));
  const state = { column: 1, descending: false, query: "", grade: "", page: 0 };

  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const badge = (kind, value, labels) => make("span", { class: `${kind} ${value}` }, labels[value]);
  const address = (device) => `#/device/${device}`;

  /* The table. Each column: what is sorted by, and what is shown. */
  const text = (field, sort = field) => ({ sort: (row) => row[sort], cell: (row) => make("td", {}, row[field] || "–") });
  const figure = (field) => ({ sort: (row) => row[field], cell: (row) => make("td", { class: "number" }, String(row[field])) });
  const columns = [
    {
      sort: (row) => row.device,
      cell: (row) => make("th", { scope: "row" }, make("a", { href: address(row.device) }, row.device)),
    },
    { sort: (row) => row.rank, cell: (row) => make("td", {}, badge("grade", row.grade, grades)) },
    text("version", "order"),
    text("newest"),
    text("since", "sinceWall"),
    text("heard", "heardWall"),
    text("event"),
    figure("refused"),
    figure("failed"),
    figure("findings"),
  ];
  for (const row of rows) {
    row.words = [row.device, grades[row.grade], row.version, row.event, row.fingerprint, row.newest].join(" ").toLowerCase();
  }

  const compare = (a, b) => (typeof a === "number" ? a - b : order(a, b));
  let chosen = [];
  const choose = () => {
    const words = state.query.toLowerCase().split(/\s+/).filter(Boolean);
    const { sort } = columns[state.column];
    chosen = rows.filter((row) => (!state.grade || row.grade === state.grade) && words.every((word) => row.words.includes(word)));
    const sign = state.descending ? -1 : 1;
    chosen.sort((a, b) => sign * compare(sort(a), sort(b)) || order(a.device, b.device));
    state.page = 0;
  };

  const showRows = (first, count) => {
    const made = chosen.slice(first, first + count).map((row) => make("tr", {}, ...columns.map((column) => column.cell(row))));
    byId("devices").tBodies[0].replaceChildren(...made);
  };
  const showTable = () => {
    const first = state.page * ROWS_A_PAGE;
    showRows(first, ROWS_A_PAGE);
    const pages = Math.max(Math.ceil(chosen.length / ROWS_A_PAGE), 1);
    const heads = [...byId("devices").tHead.rows[0].cells];
    heads.forEach((head, at) => {
      if (at === state.column) head.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    byId("shown").textContent =
      (chosen.length === rows.length ? "" : `${chosen.length} of `) + (rows.length === 1 ? "1 device" : `${rows.length} devices`);
    byId("page").textContent = `Page ${state.page + 1} of ${pages}`;
    byId("before").disabled = state.page === 0;
    byId("after").disabled = state.page + 1 >= pages;
    byId("before").parentElement.hidden = pages === 1;
  };
  const update = (change) => {
    Object.assign(state, change);
    choose();
    showTable();
  };

  /* The page of one device. */
  const list = (name, className, items) => make(name, { class: className }, ...items);
  const answer = ([question, said, proof]) =>
    make("div", {}, make("dt", {}, question), make("dd", {}, said), make("dd", {}, badge("proof", proof, proofs)));
  const finding = ([numbers, what, detail, where, advice]) =>
    make(
      "li",
      {},
      make("strong", {}, numbers ? `${numbers}: ` : ""),
      detail ? `${what} (${detail})` : what,
      make("div", {}, `What to do: ${advice}`),
      make("div", { class: "small" }, where),
    );
  const event = ([number, when, name, told, move, signers, stick, problem, advice, proof]) => {
    const happened = make("td", {}, strings[told]);
    if (strings[problem]) happened.append(make("div", {}, strings[problem]));
    if (strings[advice]) happened.append(make("div", { class: "small" }, `What to do: ${strings[advice]}`));
    if (strings[stick]) happened.append(make("div", { class: "small" }, `Stick: ${strings[stick]}`));
    if (strings[signers]) happened.append(make("div", { class: "small" }, `Signed by: ${strings[signers]}`));
    return make(
      "tr",
      {},
      make("td", { class: "number" }, String(number)),
      make("td", { class: "when" }, when),
      make("td", { class: "event" }, strings[name]),
      make("td", {}, strings[move]),
      happened,
      make("td", {}, badge("proof", strings[proof], proofs)),
    );
  };

  const devicePage = (at) => {
    const row = rows[at];
    const told = JSON.parse(byId(`d${at}`).textContent);
    const parts = [
      make("p", { class: "back" }, make("a", { href: "#/" }, "← All devices")),
      make("h1", { id: "device-title", tabindex: "-1" }, told.device),
      make("p", {}, badge("grade", row.grade, grades), ` · ${data.meanings[row.grade]}`),
      list("dl", "answers", told.answers.map(answer)),
    ];
    if (told.findings.length) {
      const left = told.findings_left ? [make("p", {}, `And ${told.findings_left} more; 'usbupdate audit verify' tells them all.`)] : [];
      parts.push(make("h2", {}, "What was found"), list("ul", "findings", told.findings.map(finding)), ...left);
    }
    const count = told.events.length;
    const all = count === told.receipts ? `${count}` : `the newest ${count} of ${told.receipts}; 'usbupdate audit show' tells them all`;
    const heads = ["No.", "Time", "Event", "From → to", "What happened", "Proof"];
    parts.push(
      make("h2", {}, "Timeline, newest first"),
      make("p", { class: "small" }, `Receipts: ${[all, ...told.unread].join("; ")}`),
      make(
        "div",
        { class: "scroll", tabindex: "0", role: "region", "aria-label": "Timeline" },
        make(
          "table",
          { id: "timeline" },
          make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))),
          make("tbody", {}, ...told.events.map(event).reverse()),
        ),
      ),
      make("h2", {}, "Where this comes from"),
      make("p", {}, "The device's key: ", make("span", { class: "fingerprint" }, told.fingerprint || "none"), ". ", told.trust),
      make("p", {}, told.copies.length === 1 ? "One copy of its log was read:" : `${told.copies.length} copies of its log were read:`),
      list("ul", "places", told.copies.map((copy) => make("li", {}, copy))),
      make("p", {}, "For a third party: ", make("code", {}, `usbupdate audit evidence ${told.device} MOUNT --output FILE`)),
    );
    return parts;
  };

  /* Which of the two is shown stands behind the # of the address, so that Back works and a link leads to a device. */
  const overview = document.title;
  const route = (moveFocus) => {
    const at = places.get(location.hash.replace("#/device/", ""));
    const isDevice = at !== undefined;
    byId("device").replaceChildren(...(isDevice ? devicePage(at) : []));
    byId("device").hidden = !isDevice;
    byId("fleet").hidden = isDevice;
    document.title = isDevice ? `${rows[at].device}: ${overview}` : overview;
    if (moveFocus) {
      window.scrollTo(0, 0);
      byId(isDevice ? "device-title" : "fleet-title").focus();
    }
  };
  window.addEventListener("hashchange", () => {
    if (location.hash !== "#main") route(true);
  });

  /* Controls. */
  [...byId("devices").tHead.rows[0].cells].forEach((head, at) => {
    head.firstElementChild.addEventListener("click", () => update({ column: at, descending: at === state.column && !state.descending }));
  });
  byId("search").form.addEventListener("submit", (submit) => submit.preventDefault());
  byId("search").addEventListener("input", (input) => update({ query: input.target.value }));
  byId("grade").addEventListener("change", (change) => update({ grade: change.target.value }));
  const turn = (step) => {
    state.page += step;
    showTable();
  };
  byId("before").addEventListener("click", () => turn(-1));
  byId("after").addEventListener("click", () => turn(1));
  window.addEventListener("beforeprint", () => showRows(0, chosen.length));
  window.addEventListener("afterprint", showTable);

  update({});
  route(false);
  // Last of all: where anything above does not work, the page says so itself.
  for (const part of document.querySelectorAll(".needs-script")) part.hidden = false;
  for (const part of document.querySelectorAll(".without-script")) part.hidden = true;
})();
