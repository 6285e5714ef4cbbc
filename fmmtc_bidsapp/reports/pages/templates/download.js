// A button below every figure (SVG) and every table (TSV); all of it is in the page already.
// written: the tables of the program by name, in full precision; paper: colours by CSS variable.
const stem = document.body.dataset.stem;

function save(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

function standAlone(svg) {
  const text = new XMLSerializer().serializeToString(svg);
  const plain = text.replace(/var\((--[a-z]+)\)/g, (whole, name) =>
    name === "--sans" ? "Arial, Helvetica, sans-serif" : (paper[name] ?? whole));
  return `<?xml version="1.0" encoding="utf-8"?>\n${plain}`;
}

function cellText(cell) {
  const parts = [...cell.childNodes].map((each) => each.textContent.trim()).filter(Boolean);
  return (cell.dataset.value ?? parts.join(" ")).replace(/\s+/g, " ").replaceAll("−", "-");
}

function rowsOf(table) {
  const rows = [...table.rows].map((row) => [...row.cells].map(cellText).join("\t"));
  return `${rows.join("\n")}\n`;
}

function offer(after, words, what, act) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "download";
  button.textContent = words;
  button.setAttribute("aria-label", `${words}: ${what}`);
  button.addEventListener("click", act);
  after.after(button);
}

function firstWords(element, other) {
  return (element?.textContent.trim() || other).split(/[.:,] /)[0].replace(/[.:]$/, "");
}

for (const svg of document.querySelectorAll("figure svg[data-name]")) {
  const name = `${stem}_${svg.dataset.name}.svg`;
  const what = firstWords(svg.closest("figure").querySelector("h3"), svg.dataset.name);
  offer(svg.closest("figure").querySelector("figcaption") ?? svg, "Save as SVG", what, () =>
    save(name, "image/svg+xml", standAlone(svg)));
}
for (const section of document.querySelectorAll("main section")) {
  for (const [i, table] of section.querySelectorAll("table").entries()) {
    table.dataset.name ??= `${section.id}-${i + 1}`;
  }
}
for (const table of document.querySelectorAll("main table")) {
  const file = table.dataset.written;
  const text = () => written[file] ?? rowsOf(table);
  const name = `${stem}_${file in written ? file : table.dataset.name}.tsv`;
  const region = table.closest(".scroll");
  const what = region?.getAttribute("aria-label") ?? firstWords(table.caption, table.dataset.name);
  offer(region ?? table, "Save as TSV", what, () =>
    save(name, "text/tab-separated-values", text()));
}
